"""What containers leave on a machine: processes, mounts, cgroups, sockets, network links.

A snapshot before and one after tell what a run has left behind. Read from /proc and /sys only (proc(5)), so
that the judge shares no code with the judged.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = "kernel-sandbox"
CGROUPS = Path("/sys/fs/cgroup")
SCRATCH = Path("/var/tmp")
PEERS = "kernel-sandbox-peers"


@dataclass(frozen=True)
class Traces:
    """Everything on the machine that mentions a store, or carries the engine's name."""

    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    sockets: frozenset[str]
    links: frozenset[str]

    @classmethod
    def of(cls, marker: str) -> "Traces":
        """The traces now of whatever mentions ``marker``: a store's path, or the root that holds stores."""
        return cls(
            processes=frozenset(_processes(marker)),
            mounts=frozenset(line for line in _lines("/proc/self/mountinfo") if marker in line),
            cgroups=frozenset(each for each in _cgroups() if not _is_anothers(each, marker)),
            sockets=frozenset(_sockets(marker)),
            links=frozenset(os.listdir("/sys/class/net")),
        )

    def since(self, before: "Traces") -> tuple[str, ...]:
        """One line for each trace that is here and was not there ``before``."""
        return tuple(
            f"{kind}: {trace}"
            for kind in ("processes", "mounts", "cgroups", "sockets", "links")
            for trace in sorted(getattr(self, kind) - getattr(before, kind))
        )


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _processes(marker: str) -> Iterator[str]:
    ourselves = set(_ancestors(os.getpid()))
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid in ourselves or _is_our_helper(pid):
            continue
        # A container's process has its own environment: its mounts tell which store it came from.
        about = "\0".join("\0".join(_lines(f"/proc/{pid}/{file}")) for file in ("environ", "cmdline", "mountinfo"))
        if marker in about or any(marker in target for target in _descriptors(pid)):
            command = " ".join(_lines(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
            yield f"{pid} {command[:120] or '(a zombie)'}"


def _is_our_helper(pid: int) -> bool:
    """Whether it is the warm helper of this very process, which it ends with."""
    command = " ".join(_lines(f"/proc/{pid}/cmdline"))
    return "kernel_sandbox.engine.helper" in command and os.getpid() in _ancestors(pid)


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        status = dict(line.split(":", 1) for line in _lines(f"/proc/{pid}/status") if ":" in line)
        pid = int(status.get("PPid", "0"))


def _descriptors(pid: int) -> Iterator[str]:
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            yield os.readlink(f"/proc/{pid}/fd/{name}")
    except OSError:
        return


def _cgroups() -> Iterator[str]:
    for directory, _, _ in os.walk(CGROUPS):
        if NAME in directory and PEERS not in directory:
            yield directory


def _is_anothers(cgroup: str, marker: str) -> bool:
    """Whether it is the group of a container that lives in some other store of the tests that run beside us."""
    try:
        if os.stat(cgroup).st_uid != os.geteuid():
            return True
    except FileNotFoundError:
        return True
    id_ = os.path.basename(cgroup)
    if id_ == NAME:
        inside = (entry.path for entry in os.scandir(cgroup) if entry.is_dir())
        return any(_is_anothers(each, marker) for each in inside)
    homes = (home for depth in ("*", "*/*", "*/*/*") for home in SCRATCH.glob(f"{depth}/containers/{id_}"))
    return any(marker not in str(home) for home in homes)


def _sockets(marker: str) -> Iterator[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")
    for parent in (runtime, "/run", f"/run/user/{os.getuid()}", "/tmp"):
        holders = Path(parent).glob(f"{NAME}*")
        for holder in (each for each in holders if each.stat().st_uid == os.geteuid()):
            for directory, _, files in os.walk(holder):
                yield from (os.path.join(directory, name) for name in files)
    for line in _lines("/proc/net/unix"):
        if marker in line:
            yield line.split()[-1]
