"""What a cold command does not import: what takes long, and is for others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio", "bz2", "concurrent.futures", "dataclasses", "email", "httpx", "inspect", "json", "logging", "lzma",
    "pathlib", "random", "shutil", "ssl", "subprocess", "tempfile", "typing_extensions", "zstandard",
}  # fmt: skip
ENGINE = {"kernel_sandbox.engine", "kernel_sandbox.runtime", "kernel_sandbox.storage", "sqlite3", "hashlib", "ctypes"}
SHOW = """
import os, sys
before, client, end = set(sys.modules), os.getpid(), os._exit

def show(code):
    if os.getpid() == client:  # and not its helper
        print(code, *set(sys.modules) - before, file=sys.stderr, flush=True)
    end(code)

from kernel_sandbox.cli import main
os._exit = show
main(sys.argv[1:])
"""


def imported(home: Path, *line: str) -> set[str]:
    """The modules that a command line brings in, in a process of its own; it must succeed."""
    environment = {**os.environ, "KERNEL_SANDBOX_HOME": str(home)}
    command = (sys.executable, "-c", SHOW, *line)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    code, *modules = done.stderr.splitlines()[-1].split()
    assert code == "0"
    return set(modules)


@pytest.mark.parametrize("line", ["--help", "-h", "image --help", "volume", "__complete -- im"])
def test_a_list_of_commands_brings_none_of_them_and_no_engine(tmp_path: Path, line: str) -> None:
    assert imported(tmp_path / "store", *line.split()) & (HEAVY | ENGINE) == set()


@pytest.mark.parametrize("line", ["run --help", "ps", "ps -a", "images", "volume ls", "info", "version"])
def test_what_only_looks_brings_nothing_heavy(tmp_path: Path, line: str) -> None:
    assert imported(tmp_path / "store", *line.split()) & HEAVY == set()
