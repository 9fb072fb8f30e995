"""A container's files for a process outside of it: its root filesystem and what is bound into it, and nothing else.

The work is done in a child process that has the container's ids, a mount namespace of its own and one descriptor of a
root. That root is the running container's own filesystem, cloned (open_tree(2)), or for one that does not run the
overlay, mounted as for a start. Volumes and binds lie on it, as Docker has it, but nothing of the kernel's: no proc,
no sys, no dev, no memory. The child never takes the container's root for its own and loads no code from there
(CVE-2019-14271); what it does, it does from the descriptor, by openat2(2) (CVE-2018-15664).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable

import msgspec

from kernel_sandbox.errors import HostError, SandboxError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import command, ids, namespaces, processes, rootfs, signals
from kernel_sandbox.runtime.job import Failure
from kernel_sandbox.runtime.mounting import closing
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.mounts import BindMount

_GO, _ROOT = b"go", b"root"
_MAX_TREES = 250
_MAX_ANSWER = 1 << 16


class Running(msgspec.Struct, frozen=True):
    """The first process of a container that runs, told from a later one of its number by when it started."""

    pid: int
    start_time: int


class View(msgspec.Struct, frozen=True):
    """What is to be seen, with the root filesystem read-only or not; ``running`` is None where the container is not."""

    trees: rootfs.TreePaths
    binds: tuple[BindMount, ...]
    maps: ids.IdMaps
    running: Running | None
    readonly: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """The host's trees that are to be mounted: the root filesystem of a running container is there already."""
        return tuple(self.trees.sources.values() if self.running else self.trees)


class HasEnded(Exception):
    """The container has ended before its files could be looked at."""


def look(view: View, work: Callable[[int], None], client: int) -> None:
    """Call *work* with a descriptor of the container's root, in a child process with the container's ids.

    The child is killed once the socket *client* hangs up. Raises the SandboxError that *work* raises, and HasEnded
    where the container has. The calling process must have one thread only.
    """
    root = _cloned_root(view.running) if view.running else None
    maps = _maps_of(view.running) if view.running and ids.is_privileged() else view.maps
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            pid = _clone(lambda: _child(view, maps, root, work, theirs), ours, maps)
        try:
            _prepare(pid, view, maps, ours)
            answer = _answer(ours, client)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.waitpid(pid, 0)
    if not answer:
        raise HostError("the copy was killed")
    if answer != _GO:
        raise msgspec.msgpack.decode(answer, type=decodable(Failure)).error()


def _answer(channel: socket.socket, client: int) -> bytes:
    """What the child says at its end. Raises SandboxError where nobody waits for it any more."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(client, select.POLLRDHUP)
    if channel.fileno() not in dict(poll.poll()):
        raise SandboxError("given up")
    return channel.recv(_MAX_ANSWER)


def _cloned_root(running: Running) -> int:
    """A copy of the mount that is a running container's root, without what is mounted on it. Raises HasEnded.

    A process on the way enters the container's mount namespace, makes the copy, and goes; it is invisible to the
    processes inside and imports nothing there.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            way = os.fork()
            if way == 0:
                with contextlib.suppress(OSError):
                    _send_root(running, theirs)
                os._exit(0)
        _, descriptors, _, _ = socket.recv_fds(ours, len(_ROOT), 1)
        os.waitpid(way, 0)
    if not descriptors:
        raise HasEnded
    return descriptors[0]


def _send_root(running: Running, channel: socket.socket) -> None:
    pid = processes.visible(running.pid)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
    joined = [
        (os.open(namespaces.path(pid, type_), os.O_RDONLY | os.O_CLOEXEC), namespaces.FLAGS[type_])
        for type_ in ("user", "mount")
        if not os.path.samefile(namespaces.path(pid, type_), namespaces.path(os.getpid(), type_))
    ]
    if signals.start_time(running.pid) != running.start_time:
        return
    namespaces.go_in(joined)
    tree = syscalls.open_tree(root, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
    socket.send_fds(channel, [_ROOT], [tree])


def _maps_of(running: Running) -> ids.IdMaps | None:
    """The ids that a container has: those of another one, it may be; None for the machine's own."""
    try:
        maps = ids.maps_of(running.pid)
        is_own = os.path.samefile(namespaces.path(running.pid, "user"), namespaces.path(os.getpid(), "user"))
    except OSError as error:
        raise HasEnded from error
    return None if is_own else maps


def _clone(child: Callable[[], None], ours: socket.socket, maps: ids.IdMaps | None) -> int:
    def run() -> None:
        ours.close()
        child()

    clone = syscalls.clone3 if maps is None else ids.clone
    pid, pidfd = clone(syscalls.CLONE_NEWNS, run)
    os.close(pidfd)
    return pid


def _prepare(pid: int, view: View, maps: ids.IdMaps | None, channel: socket.socket) -> None:
    """The child's ids, and as real root the trees that it needs, with their owners shifted into those ids."""
    if maps is not None:
        ids.write_maps(pid, maps)
    descriptors: list[int] = []
    try:
        if ids.is_privileged():
            with contextlib.ExitStack() as stack:
                userns = None
                if maps is not None:
                    path = namespaces.path(pid, "user")
                    userns = stack.enter_context(closing(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
                descriptors = rootfs.open_trees(view.needed, userns)
        socket.send_fds(channel, [_GO], descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _child(
    view: View, maps: ids.IdMaps | None, root: int | None, work: Callable[[int], None], channel: socket.socket
) -> None:
    """Answers with a failure, or that all went well."""
    try:
        word, descriptors, _, _ = socket.recv_fds(channel, len(_GO), _MAX_TREES)
        if word != _GO:
            os._exit(125)
        trees_are_sent = ids.is_privileged()
        command.become_root(maps is None or sum(each.size for each in maps.gid) > 1)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.umask(0)
        opened = descriptors if trees_are_sent else rootfs.open_trees(view.needed)
        work(_assembled(view, root, opened))
        channel.send(_GO)
    except SandboxError as error:
        channel.send(msgspec.msgpack.encode(Failure.of(error)))
    except OSError as error:
        failure = SandboxError(f"cannot reach the container's files: {(error.strerror or str(error)).lower()}")
        channel.send(msgspec.msgpack.encode(Failure.of(failure)))
    finally:
        os._exit(0)


def _assembled(view: View, root: int | None, opened: list[int]) -> int:
    if root is None:
        trees = view.trees.opened(opened)
    else:
        trees = rootfs.Trees((), -1, dict(zip(view.trees.sources, opened, strict=True)))
    return rootfs.assemble_files(trees, view.binds, root, view.readonly)
