"""Starting processes in a container, its first one and those that are executed later, and holding on to them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.runtime import command, console, devices, ids, init, namespaces, rootfs
from kernel_sandbox.runtime.cgroups import Cgroup, Entrances, hierarchies
from kernel_sandbox.runtime.frames import Kind
from kernel_sandbox.runtime.gate import Gate
from kernel_sandbox.runtime.signals import send_signal
from kernel_sandbox.spec import mounts
from kernel_sandbox.spec.runtime import Process, Spec

_MAX_FAILURE = 1 << 16
_NO_LIMIT = 1 << 63
_MOUNTS = b"mounts"


class Container(msgspec.Struct, frozen=True):
    """What a monitor is given to run."""

    id: str
    spec: Spec
    maps: ids.IdMaps
    trees: rootfs.TreePaths
    seccomp: bytes | None
    keeps_stdin: bool
    reaps: bool
    privileged: bool


class _Streams(msgspec.Struct, frozen=True):
    """Both sides of a process's standard streams, as far as they are no terminal."""

    inside: tuple[int, int, int]
    stdin: int | None
    outputs: dict[int, Kind]


class ContainerProcess:
    """A process in a container, a child of ours, with our ends of its streams; ``terminal`` is its terminal's.

    ``mounts`` is a descriptor of its mount namespace, for a first process whose pid namespace is not its own; whoever
    takes it closes it.
    """

    def __init__(self, pid: int, pidfd: int, stdin: int | None, outputs: dict[int, Kind], terminal: int | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.outputs = outputs
        self.terminal = terminal
        self.mounts: int | None = None
        self._reaped = False

    def signal(self, number: int) -> None:
        """To this process, whoever owns it."""
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


def start(container: Container, cgroup: Cgroup) -> ContainerProcess:
    """Clone the container's first process and see it become the command. Raises ContainerStartError, HostError."""
    process = container.spec.process
    held: list[int] = []

    def clone(stdio: tuple[int, int, int], ours: socket.socket, theirs: socket.socket) -> tuple[int, int]:
        def become() -> None:
            ours.close()
            if not container.spec.linux.unshares("pid"):
                _send_mounts(theirs)
            init.become(_first_process(container, stdio), theirs)

        with cgroup.entrances() as entrances:
            return _clone_first(container, become, entrances)

    def prepare(pid: int, channel: socket.socket) -> None:
        if not container.spec.linux.unshares("pid"):
            held.append(_receive_mounts(channel))
        _prepare(pid, container, channel)

    try:
        first = _start(process, container.keeps_stdin, clone, prepare)
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
    first.mounts = held[0] if held else None
    return first


def _send_mounts(channel: socket.socket) -> None:
    """The new process's own mount namespace, which nobody else may look at as long as it is the engine's program."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    socket.send_fds(channel, [_MOUNTS], [own])
    os.close(own)


def _receive_mounts(channel: socket.socket) -> int:
    _, descriptors, _, _ = socket.recv_fds(channel, len(_MOUNTS), 1)
    if not descriptors:
        raise ContainerStartError("the process was killed before it ran: try again")
    return descriptors[0]


def _clone_first(container: Container, become: Callable[[], None], entrances: Entrances) -> tuple[int, int]:
    """In new namespaces, beneath those of another container where some are shared with it."""
    linux, process = container.spec.linux, container.spec.process
    flags = namespaces.flags(each for each in namespaces.FLAGS if linux.unshares(each))
    if joined := tuple(each for each in linux.namespaces if each.path):
        with namespaces.opened(joined) as descriptors:
            return namespaces.clone_inside(descriptors, flags, become, entrances, lambda: _limit(os.getpid(), process))

    def enter_and_become() -> None:
        entrances.enter()
        become()

    return ids.clone(flags, enter_and_become, entrances.unified)


def gate(container: Container, first_pid: int, cgroup: Cgroup) -> Gate:
    """The way into a running container. Raises ContainerStartError."""
    limits = container.spec.process

    def become(process: Process, stdio: tuple[int, int, int], channel: socket.socket) -> None:
        _join(container, process, channel, stdio)

    def get_ready() -> None:
        _make_room(limits)
        _prefer(os.getpid(), limits)

    return Gate(first_pid, cgroup, get_ready, become)


def execute(process: Process, keeps_stdin: bool, way_in: Gate) -> ContainerProcess:
    """Start one more process in a running container. Raises ContainerStartError."""

    def clone(stdio: tuple[int, int, int], ours: socket.socket, theirs: socket.socket) -> tuple[int, int]:
        return way_in.clone(process, stdio, theirs)

    return _start(process, keeps_stdin, clone, lambda pid, channel: None)


def _start(
    process: Process,
    keeps_stdin: bool,
    clone: Callable[[tuple[int, int, int], socket.socket, socket.socket], tuple[int, int]],
    prepare: Callable[[int, socket.socket], None],
) -> ContainerProcess:
    """Clone a process, give it what only one outside can, and see it become its command."""
    with contextlib.ExitStack() as ours_on_failure, _streams(process.terminal, keeps_stdin) as streams:
        for descriptor in filter(None, (streams.stdin, *streams.outputs)):
            ours_on_failure.callback(os.close, descriptor)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                pid, pidfd = clone(streams.inside, ours, theirs)
            with _ended_on_failure(pid, pidfd):
                prepare(pid, ours)
                terminal = _await_command(ours)
        ours_on_failure.pop_all()
    if terminal is None:
        return ContainerProcess(pid, pidfd, streams.stdin, streams.outputs, None)
    stdin = os.dup(terminal) if keeps_stdin else None
    return ContainerProcess(pid, pidfd, stdin, {terminal: Kind.STDOUT}, terminal)


@contextlib.contextmanager
def _streams(has_terminal: bool, keeps_stdin: bool) -> Iterator[_Streams]:
    """Pipes, whose inner ends are closed on leaving; nothing but placeholders for a terminal, which comes later."""
    with contextlib.ExitStack() as inner:
        if has_terminal or not keeps_stdin:
            stdin, stdin_inside = None, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        else:
            stdin_inside, stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(stdin, False)
        inner.callback(os.close, stdin_inside)
        if has_terminal:
            yield _Streams((stdin_inside, stdin_inside, stdin_inside), None, {})
            return
        outputs: dict[int, Kind] = {}
        inside = [stdin_inside]
        for kind in (Kind.STDOUT, Kind.STDERR):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.fchmod(writer, 0o666)  # any user of the container's may open /dev/stdout
            os.set_blocking(reader, False)
            outputs[reader] = kind
            inner.callback(os.close, writer)
            inside.append(writer)
        yield _Streams((inside[0], inside[1], inside[2]), stdin, outputs)


@contextlib.contextmanager
def _ended_on_failure(pid: int, pidfd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        raise


def _await_command(channel: socket.socket) -> int | None:
    """Until the process has become its command; its terminal, if it made one. Raises ContainerStartError."""
    terminal = None
    while True:
        answer, descriptors, _, _ = socket.recv_fds(channel, _MAX_FAILURE, 1)
        if answer == command.TERMINAL and descriptors and terminal is None:
            terminal = descriptors[0]
            console.check(terminal)
            os.set_blocking(terminal, False)
        elif answer:
            failure = command.failure(answer)
            raise ContainerStartError(failure.message, failure.exit_code)
        else:
            return terminal


def _first_process(container: Container, stdio: tuple[int, int, int]) -> init.FirstProcess:
    return init.FirstProcess(
        spec=container.spec,
        mounts=mounts.plan(container.spec),
        trees=container.trees,
        trees_are_sent=container.privileged,
        cgroup_mounts=hierarchies().v1_mounts,
        seccomp=container.seccomp,
        stdio=stdio,
        reaps=container.reaps,
    )


def _join(container: Container, process: Process, channel: socket.socket, stdio: tuple[int, int, int]) -> None:
    """Turn a process that has just been cloned inside the container's namespaces into one more command."""
    with command.reporting(channel):
        _set_limits(os.getpid(), process)
        command.reset_signals()
        os.umask(0o022)
        command.become_root(init.may_set_groups(container.spec))
        os.setsid()
        command.join_fresh_keyring()
        if process.terminal:
            peer = command.make_terminal(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), process, channel)
            console.take(peer)
            stdio = (peer, peer, peer)
        command.take_stdio(stdio)
        command.confine(process, container.seccomp, init.may_set_groups(container.spec))
        command.execute(process)


def _prepare(pid: int, container: Container, channel: socket.socket) -> None:
    """What only a process outside can do for the new namespaces, and then the word to go."""
    if container.spec.linux.unshares("user"):
        ids.write_maps(pid, container.maps)
        _limit(pid, container.spec.process)
    descriptors: Sequence[int] = ()
    try:
        if container.privileged:
            userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                nodes = devices.make(container.trees.nodes.values())
                descriptors = [*rootfs.open_trees(container.trees, userns), *nodes]
            finally:
                os.close(userns)
        socket.send_fds(channel, [init.GO], descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _limit(pid: int, process: Process) -> None:
    """Resource limits and the memory killer's preference, as the caller's rights allow. Raises ContainerStartError."""
    _set_limits(pid, process)
    _prefer(pid, process)


def _set_limits(pid: int, process: Process) -> None:
    for limit in process.rlimits:
        _set_limit(pid, getattr(resource, limit.type), limit.soft, limit.hard)


def _make_room(process: Process) -> None:
    """Let the calling process's children have the limits, as far as its rights allow, without having them itself."""
    for limit in process.rlimits:
        number = getattr(resource, limit.type)
        soft, hard = resource.getrlimit(number)
        wanted = limit.hard if limit.hard < _NO_LIMIT else resource.RLIM_INFINITY
        if _lower(wanted, hard) == hard:
            with contextlib.suppress(PermissionError, ValueError):
                resource.setrlimit(number, (soft, wanted))


def _prefer(pid: int, process: Process) -> None:
    if process.oom_score_adj is None:
        return
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(process.oom_score_adj))
    except OSError as error:
        raise ContainerStartError(
            f"cannot set the OOM score to {process.oom_score_adj}: {(error.strerror or '').lower()}: "
            "choose a higher one"
        ) from error


def _set_limit(pid: int, number: int, soft: int, hard: int) -> None:
    """Without CAP_SYS_RESOURCE a limit cannot be raised: then the lower of the wanted and the present one holds."""
    soft, hard = (value if value < _NO_LIMIT else resource.RLIM_INFINITY for value in (soft, hard))
    try:
        resource.prlimit(pid, number, (soft, hard))
    except (PermissionError, ValueError):
        present = resource.prlimit(pid, number)[1]
        resource.prlimit(pid, number, (_lower(soft, present), _lower(hard, present)))


def _lower(wanted: int, present: int) -> int:
    return min((wanted, present), key=lambda value: _NO_LIMIT if value == resource.RLIM_INFINITY else value)
