"""The tour, executed and read: nbval compares no output here, and passes over a line on standard error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.store import Store
from traitlets.config import Config

TOUR = Path(__file__).resolve().parents[2] / "notebooks" / "00_tour.ipynb"


@pytest.fixture(scope="module")
def shown(
    shared_store: Store, python_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, ...]]:
    """The outputs of the tour, executed from the first cell to the last; a failed cell fails the test."""
    notebook = nbformat.read(TOUR, as_version=4)
    folder = tmp_path_factory.mktemp("tour")
    config = Config(KernelManager={"transport": "ipc", "ip": str(folder / "s")})
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(folder)}}, config=config).execute()
    yield tuple(output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def text(outputs: tuple[Any, ...], stream: str) -> str:
    return "".join(output.text for output in outputs if output.get("name") == stream)


@pytest.mark.parametrize(
    "line",
    [
        "I am process 1 on ",
        "interfaces: ['lo']",
        "processes:  ['1']",
        "1 layer before, 2 layers now",
        "\nmade in a container\n",
        "note.txt: b'made in a container\\n'",
        "in the sandbox: ['from-the-sandbox.txt']",
        "Untagged: tour/note:latest",
    ],
)
def test_the_tour_shows_what_its_sentences_promise(shown: tuple[Any, ...], line: str) -> None:
    assert line in text(shown, "stdout")


def test_the_host_does_not_see_the_sandbox_s_file(shown: tuple[Any, ...]) -> None:
    on_host = next(line for line in text(shown, "stdout").splitlines() if line.startswith("on the host:"))
    assert "from-the-sandbox.txt" not in on_host


def test_only_the_missing_file_is_complained_about(shown: tuple[Any, ...]) -> None:
    complaints = [line for line in text(shown, "stderr").splitlines() if line]
    assert len(complaints) == 2
    assert "note.txt" in complaints[0]
    assert complaints[1] == "container exited with status 1"


def test_nothing_is_left_in_the_store(shown: tuple[Any, ...], shared_store: Store) -> None:
    assert shared_store.cli("ps", "-aq").stdout == ""
    assert "tour/note" not in shared_store.cli("images").stdout


def test_the_notebook_carries_its_outputs() -> None:
    cells = [cell for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
