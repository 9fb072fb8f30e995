"""How a transfer gets on in a cell: a bar for each layer, lines for the rest."""

import io
from dataclasses import dataclass, field

from IPython.testing.globalipapp import start_ipython

from kernel_sandbox.commands.results import Transfer
from kernel_sandbox.spec.progress import Progress
from magics.bars import Bars, telling
from magics.delivery import Delivery

LAYER = "0123456789ab"


@dataclass
class Bar:
    """What ``tqdm`` makes, as far as it is used."""

    desc: str
    total: int
    unit: str
    unit_scale: bool
    n: int = 0
    drawn: list[str] = field(default_factory=list)
    is_closed: bool = False

    def reset(self, total: int) -> None:
        self.total, self.n = total, 0

    def update(self, count: int) -> None:
        self.n += count

    def set_description_str(self, text: str) -> None:
        self.desc = text
        self.drawn.append(text)

    def close(self) -> None:
        self.is_closed = True


def shown(*told: Progress) -> tuple[list[Bar], list[str]]:
    """The bars and the lines that come of it."""
    made: list[Bar] = []
    lines: list[str] = []

    def make(desc: str, total: int, unit: str, unit_scale: bool) -> Bar:
        made.append(Bar(desc, total, unit, unit_scale))
        return made[-1]

    bars = Bars(make, lambda progress: lines.append(str(progress)))
    for each in told:
        bars.tell(each)
    bars.close()
    return made, lines


def test_a_layer_has_one_bar_that_moves():
    (bar,), lines = shown(
        Progress("Pulling fs layer", LAYER),
        Progress("Downloading", LAYER, 10, 40),
        Progress("Downloading", LAYER, 30, 40),
        Progress("Downloading", LAYER, 40, 40),
        Progress("Pull complete", LAYER),
    )
    assert (bar.total, bar.n, bar.unit, bar.is_closed) == (40, 40, "B", True)
    assert bar.drawn == [f"{LAYER}: Pull complete"]
    assert lines == []


def test_a_bar_that_begins_again_goes_back():
    (bar,), _ = shown(Progress("Downloading", LAYER, 30, 40), Progress("Downloading", LAYER, 5, 40))
    assert bar.n == 5


def test_a_layer_of_which_nothing_moves_is_a_line():
    bars, lines = shown(Progress("Preparing", LAYER), Progress("Layer already exists", LAYER))
    assert bars == []
    assert lines == [f"{LAYER}: Layer already exists"]


def test_what_is_no_layers_is_a_line():
    bars, lines = shown(Progress("Pulling from library/busybox", "latest"), Progress("Status: done"))
    assert bars == []
    assert lines == ["latest: Pulling from library/busybox", "Status: done"]


def test_without_a_notebook_there_are_lines_of_what_is_news():
    start_ipython()
    stream = io.StringIO()
    with telling(stream) as tell:
        tell(Progress("Downloading", LAYER, 1, 2))
        tell(Progress("Pull complete", LAYER))
    assert stream.getvalue() == f"{LAYER}: Pull complete\n"


def test_a_statement_shows_the_steps_and_an_assignment_gets_the_last_lines(capsys):
    start_ipython()

    def steps(tell):
        tell(Progress("Working"))
        return ("the", "end")

    assert Delivery(0, keep=False).deliver(Transfer(steps)) == (None, 0)
    assert capsys.readouterr().out == "Working\nthe\nend\n"
    assert Delivery(0, keep=True).deliver(Transfer(steps)) == ("the\nend", 0)
    assert capsys.readouterr().out == ""
