"""Pausing a container: by its control group's freezer, else by stopping each of its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime.processes import pids
from kernel_sandbox.runtime.signals import send_to_all

_ATTEMPTS = 200
_PAUSE = 0.005


def freeze(cgroups: Sequence[str], first_pid: int, wanted: bool) -> None:
    """Freeze the container (*wanted*) or thaw it. Raises HostError where it does not freeze in time."""
    for path in cgroups:
        if os.path.exists(f"{path}/freezer.state"):
            _switch(f"{path}/freezer.state", "FROZEN" if wanted else "THAWED", f"{path}/freezer.state")
            return
        if os.path.exists(f"{path}/cgroup.freeze"):
            _write(f"{path}/cgroup.freeze", "1" if wanted else "0")
            return
    _signal_all(first_pid, signal.SIGSTOP if wanted else signal.SIGCONT)


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


def _switch(path: str, value: str, state: str) -> None:
    """Version 1 may need to be asked again while processes come and go (freezer-subsystem.txt)."""
    for _ in range(_ATTEMPTS):
        _write(path, value)
        with open(state) as file:
            if file.read().strip() == value:
                return
        time.sleep(_PAUSE)
    _write(path, "THAWED")
    raise HostError("the container does not freeze: a process of it waits in the kernel: try again")


def _signal_all(first_pid: int, number: int) -> None:
    """To every process, and to those that were born meanwhile."""
    reached: set[int] = set()
    while missing := set(pids(first_pid)) - reached:
        send_to_all(sorted(missing), number, lambda pid: pid in pids(first_pid))
        reached |= missing
