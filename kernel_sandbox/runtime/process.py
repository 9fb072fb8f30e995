"""Starting a container's first process, and holding on to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import ids, init, rootfs
from kernel_sandbox.runtime.cgroups import Cgroup, hierarchies
from kernel_sandbox.runtime.frames import Kind
from kernel_sandbox.runtime.signals import send_signal
from kernel_sandbox.spec import mounts
from kernel_sandbox.spec.runtime import Spec

_MAX_FAILURE = 1 << 16
_NAMESPACES = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
}


@dataclass(frozen=True)
class Container:
    """What a monitor is given to run."""

    id: str
    spec: Spec
    maps: ids.IdMaps
    trees: rootfs.TreePaths
    seccomp: bytes | None
    log_path: str
    socket_path: str
    keeps_stdin: bool
    privileged: bool


class ContainerProcess:
    """The container's first process and our ends of its standard streams."""

    def __init__(self, pid: int, pidfd: int, stdin: int | None, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.outputs = {stdout: Kind.STDOUT, stderr: Kind.STDERR}
        self._reaped = False

    @classmethod
    def start(cls, container: Container, cgroup: Cgroup) -> ContainerProcess:
        """Clone it and see it become the command. Raises ContainerStartError where it cannot, HostError."""
        with contextlib.ExitStack() as theirs:
            stdin, stdin_inside = _input_pipe(container.keeps_stdin)
            stdout, stdout_inside = os.pipe2(os.O_CLOEXEC)
            stderr, stderr_inside = os.pipe2(os.O_CLOEXEC)
            inside = (stdin_inside, stdout_inside, stderr_inside)
            for descriptor in inside:
                theirs.callback(os.close, descriptor)
            pid, pidfd = _clone(_first_process(container, inside), container, cgroup)
        for ours in (stdin, stdout, stderr):
            if ours is not None:
                os.set_blocking(ours, False)
        return cls(pid, pidfd, stdin, stdout, stderr)

    def signal(self, number: int) -> None:
        """To the first process, whoever owns it."""
        send_signal(self.pid, self.pidfd, number)

    def reap(self) -> int:
        """Its exit status once it has ended, 128 + n for signal n."""
        self._reaped = True
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return 128 - status if status < 0 else status

    def close(self) -> None:
        """End it if it still runs, and let go of its streams."""
        if not self._reaped:
            self.signal(signal.SIGKILL)
            self.reap()
        self.close_stdin()
        for descriptor in (*self.outputs, self.pidfd):
            os.close(descriptor)
        self.outputs.clear()

    def close_stdin(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None


def _input_pipe(keeps_stdin: bool) -> tuple[int | None, int]:
    if not keeps_stdin:
        return None, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    inside, outside = os.pipe2(os.O_CLOEXEC)
    return outside, inside


def _first_process(container: Container, stdio: tuple[int, int, int]) -> init.FirstProcess:
    return init.FirstProcess(
        spec=container.spec,
        mounts=mounts.plan(container.spec),
        trees=container.trees,
        trees_are_sent=container.privileged,
        cgroup_mounts=hierarchies().v1_mounts,
        seccomp=container.seccomp,
        stdio=stdio,
    )


def _clone(plan: init.FirstProcess, container: Container, cgroup: Cgroup) -> tuple[int, int]:
    """The first process, once it has become the command. Raises ContainerStartError where it cannot."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flags = sum(flag for name, flag in _NAMESPACES.items() if plan.spec.linux.unshares(name))
    with cgroup.entrances() as entrances:

        def child() -> None:
            ours.close()
            entrances.enter()
            init.become(plan, theirs)

        pid, pidfd = ids.clone(flags, child, entrances.unified)
    theirs.close()
    try:
        with ours:
            _prepare(pid, container, ours)
            if answer := ours.recv(_MAX_FAILURE):
                failure = msgspec.msgpack.decode(answer, type=init.Failure)
                raise ContainerStartError(failure.message, failure.exit_code)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        raise
    return pid, pidfd


def _prepare(pid: int, container: Container, channel: socket.socket) -> None:
    """What only a process outside can do for the new namespaces, and then the word to go."""
    ids.write_maps(pid, container.maps)
    descriptors: list[int] = []
    try:
        if container.privileged:
            userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                descriptors = rootfs.open_trees(container.trees, userns)
            finally:
                os.close(userns)
        socket.send_fds(channel, [init.GO], descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
