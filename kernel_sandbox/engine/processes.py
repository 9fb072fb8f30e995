"""``top``: ps(1) of the host, of a container's processes only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.errors import Conflict, HostError, SandboxError
from kernel_sandbox.runtime import processes
from kernel_sandbox.runtime.cgroups import Cgroup
from kernel_sandbox.storage.state import Container

if TYPE_CHECKING:
    import subprocess

_USUAL_OPTIONS = ("-ef",)
_RENAMED = re.compile(r"\s(\S*)=\s*(PID\S*)")
_SECONDS = 30


class Listing(msgspec.Struct, frozen=True):
    """What ps shows: the columns' titles, and a cell for each of them in every row."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def listed(container: Container, options: Sequence[str]) -> Listing:
    """The container's processes with the columns that ps gives for *options*, one of which must be PID.

    Raises Conflict where it does not run, SandboxError for options that ps refuses, HostError without ps.
    """
    if not container.pid:
        raise Conflict(f"Container {container.id} is not running")
    arguments = " ".join(options).split() or _USUAL_OPTIONS
    if (renamed := _RENAMED.search(f" {' '.join(arguments)}")) and renamed[1] != "pid":
        raise SandboxError(f'specifying "{renamed[1]}={renamed[2]}" is not allowed')
    members = {*processes.pids(container.pid), *Cgroup(container.cgroups).pids()}
    first, *rest = _ps(arguments, members) or [""]
    titles = first.split()
    if "PID" not in titles:
        raise SandboxError("Couldn't find PID field in ps output")
    return Listing(tuple(titles), tuple(_rows(titles, rest, members)))


def _ps(arguments: Sequence[str], members: Iterable[int]) -> list[str]:
    """What ps prints, asked for these processes where it can be: not every option goes together with that."""
    chosen = _run_ps([*arguments, f"-q{','.join(map(str, members))}"])
    done = chosen if chosen.returncode == 0 else _run_ps(arguments)
    if done.returncode:
        raise SandboxError(f"ps: {done.stderr.decode(errors='replace').strip().partition(chr(10))[0]}")
    return done.stdout.decode(errors="replace").splitlines()


def _run_ps(arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    import subprocess

    try:
        return subprocess.run(["ps", *arguments], capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise HostError("this machine has no ps, which lists the processes: install procps") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"ps {' '.join(arguments)} has not ended: choose other options") from None


def _rows(titles: Sequence[str], lines: Iterable[str], members: set[int]) -> Iterator[tuple[str, ...]]:
    """The lines of the container's processes, and of their threads, which ps -m lists below them with a dash."""
    column = titles.index("PID")
    is_ours = False
    for line in lines:
        words = line.split()
        pid = words[column] if column < len(words) else ""
        is_ours = is_ours if pid == "-" else pid.isdigit() and int(pid) in members
        if is_ours:
            words += [""] * (len(titles) - len(words))
            yield (*words[: len(titles) - 1], " ".join(words[len(titles) - 1 :]))
