"""The processes of a container, found in /proc (proc(5)): by its pid namespace and the namespaces below it.

For where no control group holds them together. What is done to them is not here.
"""

from __future__ import annotations

import contextlib
import os

import msgspec


class _Process(msgspec.Struct, frozen=True):
    """What proc_pid_status(5) says; ``levels`` are its pids, one for each namespace down to its own."""

    pid: int
    parent: int
    levels: tuple[int, ...]


def pids(first: int) -> tuple[int, ...]:
    """Every process that is in the container whose first process is *first*, as the host numbers them.

    All in the pid namespace that *first* began, and in those below. Where it began none (``--pid host``), *first* and
    what descends from it. Empty once it has ended. Processes come and go meanwhile: whoever wants all of a crowd that
    forks asks until the answer stays the same.
    """
    found = _processes()
    start = found.get(first)
    if start is None:
        return ()
    members = {first: True}
    own = _namespace(first) if len(start.levels) > 1 and start.levels[-1] == 1 else ""
    for pid in found:
        _decide(pid, members, found, len(start.levels), own)
    return tuple(sorted(pid for pid, inside in members.items() if inside))


def visible(first: int) -> int:
    """A process of the container that the caller may look at (ptrace(2), access mode checking).

    That is the first one; but where it is the engine's init, into which nobody may look, one that it has started.
    """
    for pid in (first, *pids(first)):
        with contextlib.suppress(OSError):
            os.stat(f"/proc/{pid}/ns/mnt")
            return pid
    return first


def all_pids() -> tuple[int, ...]:
    """Every process of the machine that /proc shows."""
    return tuple(int(name) for name in os.listdir("/proc") if name.isdigit())


def _decide(pid: int, members: dict[int, bool], found: dict[int, _Process], depth: int, own: str) -> None:
    """Whether a process belongs: by its namespace, or else as the parents above it do."""
    chain = []
    while pid not in members and pid in found:
        chain.append(pid)
        members[pid] = bool(own) and len(found[pid].levels) == depth and _namespace(pid) == own
        if members[pid] or (own and len(found[pid].levels) <= depth):
            break
        pid = found[pid].parent
    inside = members.get(pid, False)
    members.update(dict.fromkeys(chain, inside))


def _processes() -> dict[int, _Process]:
    processes = {}
    for pid in all_pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
            processes[pid] = _parsed(pid, file.read())
    return processes


def _parsed(pid: int, status: bytes) -> _Process:
    values = dict(line.split(b":", 1) for line in status.splitlines() if line.startswith((b"PPid:", b"NSpid:")))
    return _Process(pid, int(values[b"PPid"]), tuple(map(int, values[b"NSpid"].split())))


def _namespace(pid: int) -> str:
    """The pid namespace of a process, empty where it has ended or is none of the caller's."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
