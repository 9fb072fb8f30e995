"""Execute a notebook and show it in the terminal: each cell's source, then what it printed.

    notebooks/show.py notebooks/00_tour.ipynb

The notebook file is not changed. The exit status is 1 when a cell fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

SECONDS = 120  # the longest a cell may take
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def lines_of(output: Any) -> Iterator[str]:
    """The lines a terminal shows of one output of a cell."""
    match output.output_type:
        case "stream":
            yield from output.text.splitlines()
        case "execute_result" | "display_data":
            yield from output.data.get("text/plain", "").splitlines()
        case "error":
            yield f"{output.ename}: {output.evalue}"


def show_text(cell: Any, **_: Any) -> None:
    """Show a cell, if it is one of text."""
    if cell.cell_type == "markdown":
        print(f"\n{cell.source}", flush=True)


def show_source(cell: Any, **_: Any) -> None:
    """Show the source of a cell of code, as it starts."""
    print(flush=True)
    for line in cell.source.splitlines():
        print(f"{BOLD}> {line}{PLAIN}", flush=True)


def show_outputs(cell: Any, **_: Any) -> None:
    """Show what a cell of code printed, when it is done."""
    for output in cell.outputs:
        for line in lines_of(output):
            print(f"{DIM}  {line.rpartition(chr(13))[2]}{PLAIN}", flush=True)


def execute(path: Path) -> None:
    """Execute the notebook at ``path``, in its directory, showing each cell.

    Raises:
        CellExecutionError, CellTimeoutError, DeadKernelError: a cell did not succeed.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_start=show_text,
            on_cell_execute=show_source,
            on_cell_executed=show_outputs,
            # Sockets in a private directory: over TCP the kernel warns, among the output, of eavesdroppers.
            config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/s"}),
        ).execute()


def main() -> int:
    """Show the notebook named on the command line."""
    # The lessons call the commands installed beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    path = Path(sys.argv[1])
    try:
        execute(path)
    except CellExecutionError as error:
        print(f"{path}: a cell failed: {error.ename}: {error.evalue}", file=sys.stderr)
    except (CellTimeoutError, DeadKernelError) as error:
        print(f"{path}: {str(error).splitlines()[0]}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
