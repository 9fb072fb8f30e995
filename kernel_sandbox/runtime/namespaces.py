"""Namespaces that exist already: which a process has, and starting a process inside them (setns(2))."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import command, processes
from kernel_sandbox.runtime.cgroups import Entrances
from kernel_sandbox.runtime.signals import send_to_all
from kernel_sandbox.spec.runtime import Namespace

FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}
_FILES = {"mount": "mnt", "network": "net"}
_AFTER_CLONE = {"user", "cgroup"}
_ATTEMPTS = 200
_PAUSE = 0.005
MAX_ANSWER = 1 << 16
PID = struct.Struct("=i")


def flags(types: Iterable[str]) -> int:
    """The CLONE_NEW* flags of the types that clone3(2) itself is to make new."""
    return sum(FLAGS[each] for each in types if each not in _AFTER_CLONE)


def path(pid: int, type_: str) -> str:
    """The file that stands for a process's namespace (namespaces(7))."""
    return f"/proc/{pid}/ns/{_FILES.get(type_, type_)}"


@contextlib.contextmanager
def opened(joined: Iterable[Namespace]) -> Iterator[list[tuple[int, int]]]:
    """Descriptors of namespaces by their paths, each with its flag; the user namespace first, which rules the rest."""
    in_order = sorted(joined, key=lambda each: each.type != "user")
    with contextlib.ExitStack() as stack:
        descriptors = []
        for each in in_order:
            try:
                descriptor = os.open(each.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise ContainerStartError(f"cannot join {each.path}: the container has ended: start it") from None
            stack.callback(os.close, descriptor)
            descriptors.append((descriptor, FLAGS[each.type]))
        yield descriptors


@contextlib.contextmanager
def of_process(pid: int) -> Iterator[list[tuple[int, int]]]:
    """The namespaces of a container by its first process, those that are not the caller's own as well."""
    pid = processes.visible(pid)
    others = (each for each in FLAGS if not os.path.samefile(path(pid, each), path(os.getpid(), each)))
    with opened(Namespace(each, path(pid, each)) for each in others) as descriptors:
        yield descriptors


def clone_inside(
    joined: Sequence[tuple[int, int]],
    new: int,
    child: Callable[[], None],
    entrances: Entrances,
    get_ready: Callable[[], None],
) -> tuple[int, int]:
    """A child of the calling process that is born inside namespaces, with *new* ones of its own where asked.

    A process on the way calls *get_ready*, joins them, since a pid namespace is for its children only
    (pid_namespaces(7)), and leaves the child to us. Returns the child's pid and a pidfd. The calling process must have
    one thread only.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            way = os.fork()
            if way == 0:
                with command.reporting(theirs):
                    get_ready()
                    entrances.enter()
                    views = go_in(joined)

                    def born() -> None:
                        join(views)
                        child()

                    pid, _ = syscalls.clone3(new | syscalls.CLONE_PARENT, born, entrances.unified)
                    theirs.send(PID.pack(pid))
                    os._exit(0)
        os.waitpid(way, 0)
        ours.setblocking(False)
        try:
            answer = ours.recv(MAX_ANSWER)
        except BlockingIOError:
            answer = b""
    return born_as(answer)


def born_as(answer: bytes) -> tuple[int, int]:
    """The pid and a pidfd of a child that was cloned inside for us. Raises the failure that came instead."""
    if len(answer) != PID.size:
        failure = command.failure(answer)
        raise ContainerStartError(failure.message, failure.exit_code)
    (pid,) = PID.unpack(answer)
    return pid, os.pidfd_open(pid)


def end_processes_in(mounts: int) -> None:
    """Kill what is left in a mount namespace, for a container whose pid namespace is not its own.

    *mounts* is a descriptor of it: a namespace that is held keeps its number, which the next one would get otherwise.
    """
    wanted = os.fstat(mounts).st_ino

    def belongs(pid: int) -> bool:
        try:
            return os.stat(path(pid, "mount")).st_ino == wanted
        except OSError:
            return False

    for _ in range(_ATTEMPTS):
        if not any(map(belongs, processes.all_pids())):
            return
        send_to_all(processes.all_pids(), signal.SIGKILL, belongs)
        time.sleep(_PAUSE)


def go_in(joined: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join the namespaces, but the view of the control groups, which is returned: for the children, once they are in
    their group, since from inside a view nobody is let into a group from outside of it (nsdelegate).

    Invisible to the processes inside, which must not get at what the engine has open (CVE-2016-9962).
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    command.forbid_imports()
    join(each for each in joined if each[1] != syscalls.CLONE_NEWCGROUP)
    return [each for each in joined if each[1] == syscalls.CLONE_NEWCGROUP]


def join(namespaces: Iterable[tuple[int, int]]) -> None:
    """setns(2) with each descriptor and its flag."""
    for descriptor, flag in namespaces:
        syscalls.setns(descriptor, flag)
