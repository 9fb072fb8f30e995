"""``%container`` in a real kernel, on real containers."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Timer
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from support.store import Store
from support.waiting import wait_until


@dataclass
class Cell:
    """What a cell sent: when (in seconds) and what to each stream; values shown; errors; the reply's status."""

    stdout: list[tuple[float, str]] = field(default_factory=list)
    stderr: list[tuple[float, str]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    status: str = ""

    @property
    def out(self) -> str:
        return "".join(text for _, text in self.stdout)

    @property
    def err(self) -> str:
        return "".join(text for _, text in self.stderr)


class Notebook:
    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(self, source: str, interrupt_after: tuple[float, ...] = ()) -> Cell:
        cell, start = Cell(), time.monotonic()

        def receive(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                getattr(cell, content["name"]).append((time.monotonic() - start, content["text"]))
            elif message["msg_type"] == "error":
                cell.errors += content["traceback"]
            elif "data" in content:
                cell.shown.append(content["data"])

        timers = [Timer(seconds, self.manager.interrupt_kernel) for seconds in interrupt_after]
        for timer in timers:
            timer.start()
        reply = self.client.execute_interactive(source, timeout=60, allow_stdin=False, output_hook=receive)
        cell.status = reply["content"]["status"]
        return cell

    def complete(self, source: str) -> list[str]:
        matches: list[str] = self.client.complete(source, reply=True, timeout=20)["content"]["matches"]
        return matches


@pytest.fixture(scope="module")
def notebook(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=shared_store.environ(), cwd=str(tmp_path_factory.mktemp("notebook")))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        started = Notebook(manager, client)
        assert started.run("%load_ext kernel_sandbox").status == "ok"
        yield started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(autouse=True)
def nothing_running(notebook: Notebook) -> Iterator[None]:
    yield
    assert notebook.run("%container ps -q").out == ""


def test_loading_does_not_keep_the_cell_waiting(notebook: Notebook) -> None:
    notebook.run("%unload_ext kernel_sandbox")
    loaded = notebook.run(
        "import time\nstart = time.perf_counter()\n%load_ext kernel_sandbox\nprint(time.perf_counter() - start)"
    )
    assert float(loaded.out) < 0.05


def test_the_output_comes_while_the_container_runs(notebook: Notebook) -> None:
    cell = notebook.run("%container run --rm busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.5; done'")
    assert cell.out == "1\n2\n3\n"
    assert len(cell.stdout) == 3
    assert cell.stdout[2][0] - cell.stdout[0][0] > 0.8


def test_streams_and_exit_status_are_shown_apart(notebook: Notebook) -> None:
    cell = notebook.run("%container run --rm busybox sh -c 'echo out; echo err >&2; exit 3'\nprint(_exit_code)")
    assert (cell.out, cell.err) == ("out\n3\n", "err\ncontainer exited with status 3\n")
    assert cell.status == "ok"


def test_an_assignment_keeps_the_output(notebook: Notebook) -> None:
    cell = notebook.run(
        "x = %container run --rm busybox sh -c 'echo out; echo err >&2; exit 3'\n"
        "print([x.stdout, x.stderr, x.exit_code])"
    )
    assert (cell.out, cell.err) == ("['out\\n', 'err\\n', 3]\n", "")


def test_the_cell_s_body_is_the_standard_input(notebook: Notebook) -> None:
    cell = notebook.run("%%container run --rm -i busybox sh\necho $HOME '{x}'\nwc -c < /dev/null")
    assert cell.out == "/root {x}\n0\n"


def test_a_long_body_arrives_whole(notebook: Notebook) -> None:
    body = "ä" * 500_000
    cell = notebook.run(f"%%container run --rm -i busybox wc -c\n{body}\n")
    assert cell.out.strip() == str(2 * 500_000 + 1)


def test_variables_reach_the_command_as_single_words(notebook: Notebook) -> None:
    cell = notebook.run(
        """value = "it's a word"; row = {"a": [1]}\n"""
        """%container run --rm busybox printf '<%s>' $value {value} {row[a]} '$HOME' '{print $1}' $_"""
    )
    assert cell.out == "<it's a word><it's a word><[1]><$HOME><{print $1}><$_>"


def test_a_function_s_variables_are_seen(notebook: Notebook) -> None:
    cell = notebook.run(
        "def f(inner):\n    x = %container run --rm busybox echo $inner\n    return x.stdout\nprint(f('within'))"
    )
    assert cell.out.strip() == "within"


def test_a_table_is_html_and_text_and_objects(notebook: Notebook) -> None:
    cell = notebook.run(
        "%container images\nrows = %container images busybox\nprint(rows[0].repository, rows[0]['TAG'])"
    )
    assert cell.out == "busybox latest\n"
    (table,) = cell.shown
    assert table["text/html"].startswith("<table>")
    assert table["text/plain"].startswith("REPOSITORY")


@pytest.mark.parametrize(
    ("line", "says", "status"),
    [
        ("rmi nosuch", "No such image: nosuch:latest", 1),
        ("run --nosuch busybox", "unknown flag: --nosuch", 125),
        ("run --rm busybox nosuch", "nosuch", 127),
        ("nosuch", "'nosuch' is not a", 1),
        ("run 'busybox", "no closing quotation", 125),
        ("rm nosuch", "No such container: nosuch", 1),
        ("export nosuch", "No such container: nosuch", 1),
    ],
)
def test_a_mistake_is_one_line_without_a_traceback(notebook: Notebook, line: str, says: str, status: int) -> None:
    cell = notebook.run(f"%container {line}")
    assert says in cell.err
    assert cell.err.count("\n") == 1
    assert cell.errors == []
    assert cell.status == "error"
    assert notebook.run("print(_exit_code)").out == f"{status}\n"


def test_help_is_shown(notebook: Notebook) -> None:
    assert "--memory" in notebook.run("%container run --help").out


def test_an_interrupt_ends_the_container_in_its_own_way(notebook: Notebook) -> None:
    cell = notebook.run(
        """%container run --rm busybox sh -c 'trap "echo bye; exit 5" INT; while :; do sleep 0.1; done'""",
        interrupt_after=(1,),
    )
    assert cell.out == "bye\n"
    assert cell.errors == ["interrupted: the container has ended"]


def test_interrupts_end_a_container_that_ignores_them(notebook: Notebook) -> None:
    start = time.monotonic()
    cell = notebook.run("%container run --rm busybox sleep 100", interrupt_after=(1, 1.3, 1.6))
    assert time.monotonic() - start < 20
    assert cell.errors == ["interrupted: the container has ended"]
    assert notebook.run("%container ps -aq").out == ""


def test_the_time_between_signals_ends_it_too(notebook: Notebook) -> None:
    cell = notebook.run("%container run --rm busybox sleep 100", interrupt_after=(0.5,))
    assert cell.errors == ["interrupted: the container has ended"]


def test_following_a_log_is_interrupted_and_the_container_goes_on(notebook: Notebook, name: str) -> None:
    notebook.run(f"%container run -d --name {name} busybox sh -c 'echo begun; sleep 100'")
    cell = notebook.run(f"%container logs -f {name}", interrupt_after=(0.5,))
    assert (cell.out, cell.errors) == ("begun\n", ["interrupted"])
    assert notebook.run("%container ps -q").out
    notebook.run(f"%container rm -f {name}")


def test_the_end_of_the_notebook_ends_its_foreground_container(notebook: Notebook, shared_store: Store) -> None:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=shared_store.environ())
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute("%load_ext magics\n%container run --rm busybox sleep 100")
    wait_until(lambda: shared_store.cli("ps", "-q").stdout, timeout=20, interval=0.2)
    manager.shutdown_kernel(now=True)
    client.stop_channels()
    wait_until(lambda: not shared_store.cli("ps", "-aq").stdout, timeout=10, interval=0.2)


def test_bytes_are_kept_or_refused(notebook: Notebook, name: str) -> None:
    notebook.run(f"%container create --name {name} busybox")
    assert "name a file with -o FILE" in notebook.run(f"%container export {name}").err
    cell = notebook.run(f"tar = %container export {name}\nprint(tar[257:262])")
    assert cell.out == "b'ustar'\n"


def test_inspect_gives_python_values(notebook: Notebook) -> None:
    cell = notebook.run("found = %container inspect busybox\nprint(found[0]['RepoTags'])")
    assert cell.out == "['busybox:latest']\n"


@pytest.mark.parametrize(
    ("source", "offered"),
    [
        ("%container comm", {"commit"}),
        (
            "%container image ",
            {"bootstrap", "history", "import", "inspect", "load", "ls", "prune", "pull", "push", "rm", "save", "tag"},
        ),
        ("%%container run --network ", {"none", "host", "container:"}),
        ("%container run --na", {"--name"}),
        ("x = %container run --rm busy", {"busybox:latest"}),
        ("%container rmi busybox:l", {"busybox:latest"}),
        ("%container bootstrap p", {"python"}),
    ],
)
def test_completion_knows_commands_flags_and_names(notebook: Notebook, source: str, offered: set[str]) -> None:
    assert set(notebook.complete(source)) == offered


def test_completion_knows_containers(notebook: Notebook, name: str) -> None:
    notebook.run(f"%container create --name {name} busybox")
    assert name in notebook.complete("%container rm ")


def test_unloading_takes_the_magics_away(notebook: Notebook) -> None:
    notebook.run("%unload_ext kernel_sandbox")
    assert "not found" in notebook.run("%container ps").err
    assert notebook.run("%load_ext magics\n%load_ext kernel_sandbox\n%container ps -q").status == "ok"
    notebook.run("%unload_ext magics")
    assert notebook.run("%reload_ext kernel_sandbox").status == "ok"
