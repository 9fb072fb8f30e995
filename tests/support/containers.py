"""What tests of containers ask and expect again and again: a complaint, a state, the ids that exist inside."""

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.store import Store

IS_ROOT = os.geteuid() == 0


def complaint(done: subprocess.CompletedProcess[Any], status: int) -> str:
    """The one line that a failed command has written, without the program's name."""
    assert done.returncode == status, f"status {done.returncode}, not {status}: {done.stderr}{done.stdout[-500:]}"
    lines = done.stderr.splitlines()
    assert len(lines) == 1, f"one line, not {len(lines)}: {done.stderr}"
    assert lines[0].startswith("kernel-sandbox: ")
    return str(lines[0].removeprefix("kernel-sandbox: "))


def inspected(store: Store, name: str) -> dict[str, Any]:
    """What ``inspect`` says of one object."""
    documents = json.loads(store.cli("inspect", name, check=True).stdout)
    assert len(documents) == 1
    return dict(documents[0])


def state(store: Store, name: str) -> dict[str, Any]:
    """A container's ``State``."""
    return dict(inspected(store, name)["State"])


def parent(pid: int) -> int:
    """The parent of a process: for a container's first process, its monitor (proc_pid_stat(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@functools.cache
def ids_inside(store: Store) -> int:
    """How many user ids a container of this caller has: one, unless subordinate ids are configured."""
    text = store.cli("run", "--rm", "busybox", "cat", "/proc/self/uid_map", check=True).stdout
    return sum(int(line.split()[2]) for line in text.splitlines())
