"""Signals for processes that may belong to other users, and telling a process from a later one of its number."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable

from kernel_sandbox.linux import syscalls


def send_signal(pid: int, pidfd: int, number: int) -> None:
    """Send a signal to a container's process; one that has ended needs none.

    A process under a subordinate id takes signals from its own user namespace's root alone. The calling process must
    have one thread only.
    """
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except PermissionError:
        _send_from_inside(pid, pidfd, number)


def _send_from_inside(pid: int, pidfd: int, number: int) -> None:
    helper = os.fork()
    if helper == 0:
        try:
            syscalls.setns(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY), syscalls.CLONE_NEWUSER)
            signal.pidfd_send_signal(pidfd, number)
        finally:
            os._exit(0)
    os.waitpid(helper, 0)


def send_to_all(pids: Iterable[int], number: int, belongs: Callable[[int], bool]) -> None:
    """Send a signal to those processes that *belong*, which is asked once each is held: its number may be another's.

    Those that have ended need none. The calling process must have one thread only.
    """
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if belongs(pid):
                send_signal(pid, pidfd, number)
        finally:
            os.close(pidfd)


def session_of(pid: int) -> int:
    """The leader of a process's session (proc_pid_stat(5), field 6); 0 where there is no such process."""
    return _field(pid, 6)


def wait_for_end(pidfd: int, seconds: float = 10.0) -> None:
    """Until the process, which need not be ours, has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(seconds * 1000)


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where there is none (proc_pid_stat(5), field 22)."""
    return _field(pid, 22)


def _field(pid: int, number: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[number - 3])
    except (FileNotFoundError, ProcessLookupError):
        return 0
