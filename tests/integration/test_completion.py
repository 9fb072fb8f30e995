"""Completion in real shells, each at its own prompt on a terminal, and what is offered where."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.store import COMMAND, Store
from support.terminal import Terminal, terminal
from support.waiting import unavailable

pytestmark = pytest.mark.same_for_every_user

TAB = "\t"
TO_THE_START = "\x01"  # Ctrl-A, in each of the three shells
SHELLS = {
    "bash": ("--norc", "--noprofile", "-i"),
    "zsh": ("-f", "-i"),
    "fish": ("--no-config", "-i"),
}
PREPARATIONS = {
    "bash": "source <(kernel-sandbox completion bash)",
    "zsh": "autoload -U compinit; compinit -D -u; source <(kernel-sandbox completion zsh)",
    "fish": "kernel-sandbox completion fish | source",
}


@contextmanager
def prompt(shell: str, store: Store, directory: Path) -> Iterator[Terminal]:
    """An interactive shell with the completion loaded, in a directory of its own."""
    program = shutil.which(shell)
    if program is None:
        unavailable(f"not installed: {shell}")
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    env = store.environ({"PATH": path, "TERM": "dumb", "HOME": str(directory), "PS1": "$ "})
    with terminal((program, *SHELLS[shell]), (50, 200), env) as opened:
        opened.type(f"cd {directory}; {PREPARATIONS[shell]}; echo re''ady\n")
        opened.expect("ready")
        yield opened


def completed(opened: Terminal, line: str) -> str:
    """What TAB makes of a command line: the shell is made to echo it."""
    before = len(opened.shown)
    opened.type(f"{line}{TAB}{TO_THE_START}echo [ \n")
    opened.expect("\n[ ", after=before)
    answered = opened.shown.index("\n[ ", before)
    opened.expect("\r\n", after=answered)
    return opened.shown[answered:].partition("[ ")[2].partition("\r\n")[0].strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_flags_values_and_names(
    shell: str, shared_store: Store, name: str, tmp_path: Path
) -> None:
    shared_store.cli("create", "--name", name, "busybox", check=True)
    (tmp_path / "notes.txt").touch()
    with prompt(shell, shared_store, tmp_path) as opened:
        assert completed(opened, "kernel-sandbox comm") == "kernel-sandbox commit"
        assert completed(opened, "kernel-sandbox container comm") == "kernel-sandbox container commit"
        assert completed(opened, "kernel-sandbox run --entryp") == "kernel-sandbox run --entrypoint"
        assert completed(opened, "kernel-sandbox run --network h") == "kernel-sandbox run --network host"
        assert completed(opened, "kernel-sandbox run --network=h") == "kernel-sandbox run --network=host"
        assert completed(opened, f"kernel-sandbox rm {name[:-3]}") == f"kernel-sandbox rm {name}"
        assert completed(opened, "kernel-sandbox run --rm busyb") == "kernel-sandbox run --rm busybox:latest"
        assert completed(opened, "kernel-sandbox run --rm busybox:l") == "kernel-sandbox run --rm busybox:latest"
        assert completed(opened, "kernel-sandbox run busybox cat not") == "kernel-sandbox run busybox cat notes.txt"
        assert completed(opened, "kernel-sandbox kill -s HU") == "kernel-sandbox kill -s HUP"
