"""The sandboxed kernel under the programs that start kernels, and when such a program is killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbclient import NotebookClient
from support.kernels import KERNEL, Kernel, kernel, remains
from support.waiting import unavailable, wait_until

pytestmark = pytest.mark.usefixtures("python_image")

STARTED_KERNEL = """
import time
from support.kernels import kernel
with kernel():
    print("ready", flush=True)
    time.sleep(100)
"""


def notebook(*cells: str) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    made.metadata.kernelspec = {"name": KERNEL, "display_name": "Python 3 (sandbox)", "language": "python"}
    return made


def test_nbclient_executes_a_notebook() -> None:
    before = remains()
    executed = NotebookClient(notebook("import os", "print(os.getcwd())"), timeout=60).execute()
    assert executed.cells[1].outputs[0]["text"] == "/root\n"
    assert not remains() - before


def test_nbval_checks_a_notebook(tmp_path: Path) -> None:
    made = notebook("print(6 * 7)")
    made.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    made.cells[0].execution_count = 1
    nbformat.write(made, tmp_path / "checked.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "checked.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout


def test_jupyter_console_talks_to_it() -> None:
    if importlib.util.find_spec("jupyter_console") is None:
        unavailable("jupyter_console is not installed: pip install jupyter_console")
    command = [sys.executable, "-m", "jupyter_console", "--kernel", KERNEL, "--simple-prompt"]
    lines = "import os\nprint('answer', 6 * 7, os.getcwd())\nexit\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=90)
    assert "answer 42 /root" in done.stdout, done.stderr


def test_killing_the_manager_ends_the_kernel_and_the_next_one_clears_up() -> None:
    before = remains()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", STARTED_KERNEL], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        marker = next(name for name in remains() - before if name.startswith("kernel-")).removesuffix(".lock")
        assert processes_of(marker)
        owner.kill()
    wait_until(lambda: not processes_of(marker), timeout=10)
    with kernel():
        assert not any(name.startswith(marker) for name in remains())
    assert not remains() - before


def processes_of(marker: str) -> list[str]:
    """The processes in whose mounts the kernel's directory is."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/mountinfo") as file:
                found += [pid] if marker in file.read() else []
        except OSError:
            continue
    return found


@contextmanager
def launched(directory: Path) -> Iterator[tuple[Kernel, subprocess.Popen[bytes]]]:
    """A kernel started as a client does that runs the kernelspec's command itself."""
    path, _ = write_connection_file(str(directory / "connection.json"), ip="127.0.0.1", key=b"secret")
    spec = json.loads((Path(sys.prefix) / f"share/jupyter/kernels/{KERNEL}/kernel.json").read_text())
    command = [sys.executable, *spec["argv"][1:-1], path]
    with subprocess.Popen(command, cwd=directory, start_new_session=True) as process:
        client = BlockingKernelClient(connection_file=path)
        client.load_connection_file()
        client.start_channels()
        try:
            wait_until(lambda: is_ready(client), timeout=60)
            yield Kernel(None, client), process  # type: ignore[arg-type]
        finally:
            client.stop_channels()
            process.kill()


def is_ready(client: BlockingKernelClient) -> bool:
    """Whether the kernel answers; without a manager the client takes one that still starts for dead."""
    try:
        client.wait_for_ready(timeout=10)
    except RuntimeError:
        return False
    return True


def test_the_kernelspecs_own_command_runs_the_same_container_over_tcp(tmp_path: Path) -> None:
    before = remains()
    with launched(tmp_path) as (running, process):
        assert running.run("import os; print(os.getcwd(), os.path.exists('/dev/jupyter'))") == "/root True"
        assert running.run("print(open('/proc/net/dev').read().count(':'))") == "1"
        timer = threading.Timer(1.0, os.killpg, (process.pid, signal.SIGINT))
        timer.start()
        assert running.run("import time; time.sleep(100)").startswith("KeyboardInterrupt")
        assert running.run("print('still here')") == "still here"
        running.client.shutdown()
        assert process.wait(20) == 0
    assert not remains() - before


def test_the_kernelspecs_own_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "connection.json").write_text("{}")
    command = [sys.executable, "-m", "kernel_sandbox.jupyter.launch", "-f", "connection.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert "connection.json" in done.stderr
