"""One monitor per container: starts its process, keeps its output, serves its clients, records its end.

The monitor has one thread, a session of its own and no terminal; it outlives the client that asked for the
container. What it learns goes to a ``Journal`` (the engine's); how it talks is in ``frames``. Should it be killed,
the kernel ends the container with it (PR_SET_PDEATHSIG in ``init``), and the next command finds that out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import ids, init, rootfs, sessions
from kernel_sandbox.runtime.cgroups import Cgroup, hierarchies
from kernel_sandbox.runtime.frames import Ending, Frame, Kind
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.spec import mounts
from kernel_sandbox.spec.runtime import Spec

_CHUNK = 1 << 16
_INPUT_LIMIT = 1 << 20
_HANG_UP_GRACE = 2.0
_NAMESPACES = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
}


class Running(msgspec.Struct, frozen=True):
    """A started container: the host's pid of its first process, when that one started (proc_pid_stat(5) field 22,
    which tells it from a later process of the same number), and its control groups."""

    pid: int
    start_time: int
    cgroups: tuple[str, ...]


class Journal(Protocol):
    """Where a monitor records what happens; each call is durable when it returns."""

    def started(self, running: Running) -> None: ...

    def exited(self, ending: Ending) -> None: ...


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


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where there is none (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


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


def wait_for_end(pidfd: int, seconds: float = 10.0) -> None:
    """Until the process, which need not be ours, has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(seconds * 1000)


def run(container: Container, journal: Journal, first: sessions.Session | None) -> None:
    """Start the container and stay until it has ended and its clients have read everything.

    *first* is the client that asked for it. Raises ContainerStartError or HostError where it does not start;
    then nothing is left of it.
    """
    with contextlib.ExitStack() as stack:
        cgroup = Cgroup.create(container.id, container.spec.linux.resources, container.privileged)
        stack.callback(cgroup.remove)
        log = LogWriter(container.log_path)
        stack.callback(log.close)
        process = _Process.start(container, cgroup)
        stack.callback(process.close)
        journal.started(Running(process.pid, start_time(process.pid), cgroup.paths))
        relay = _Relay(process, log, container.socket_path)
        stack.callback(relay.close)
        if first:
            relay.welcome(first)
            first.send(Frame(Kind.STARTED, str(process.pid).encode()))
        exit_code = relay.until_exit()
        ending = Ending(exit_code, cgroup.oom_killed())
        cgroup.remove()
        relay.stop_listening()
        journal.exited(ending)
        relay.finish(Frame(Kind.EXITED, msgspec.msgpack.encode(ending)))


class _Process:
    """The container's first process and our ends of its standard streams."""

    def __init__(self, pid: int, pidfd: int, stdin: int | None, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.outputs = {stdout: Kind.STDOUT, stderr: Kind.STDERR}
        self._reaped = False

    @classmethod
    def start(cls, container: Container, cgroup: Cgroup) -> _Process:
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
            if answer := ours.recv(_CHUNK):
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


class _Relay:
    """Moves bytes between the container, its log and its clients, and passes their signals on."""

    def __init__(self, process: _Process, log: LogWriter, socket_path: str) -> None:
        self._process = process
        self._log = log
        self._socket_path = socket_path
        self._poll = select.epoll()
        self._actions: dict[int, Callable[[], object]] = {}
        self._sessions: set[sessions.Session] = set()
        self._input = bytearray()
        self._input_ended = False
        self._kill_at: float | None = None
        self._exited = False
        self._listener: socket.socket | None = sessions.listen(socket_path)
        self._watch(self._listener.fileno(), self._accept)
        self._watch(process.pidfd, self._note_exit)
        self._termination = _termination()
        self._watch(self._termination, self._terminate)
        for descriptor in process.outputs:
            self._watch(descriptor, functools.partial(self._read_output, descriptor))

    def _watch(self, descriptor: int, action: Callable[[], object], events: int = select.EPOLLIN) -> None:
        if descriptor in self._actions:
            self._poll.modify(descriptor, events)
        else:
            self._poll.register(descriptor, events)
        self._actions[descriptor] = action

    def _unwatch(self, descriptor: int) -> None:
        if self._actions.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def until_exit(self) -> int:
        """Serve until the first process has ended and its output is in the log; returns its status."""
        while not self._exited:
            self._pump_all()
            self._wait()
        for descriptor in tuple(self._process.outputs):
            while self._read_output(descriptor):
                pass
        return self._process.reap()

    def finish(self, last: Frame) -> None:
        """Let the clients read what is left, then the last frame."""
        for session in tuple(self._sessions):
            session.send(last)
            session.hang_up_when_sent = True
        self._pump_all()
        while self._sessions:
            self._wait()
            self._pump_all()

    def _pump_all(self) -> None:
        for session in tuple(self._sessions):
            self._pump(session)

    def _wait(self) -> None:
        """Until something happens, and what it asks for."""
        timeout = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
        for descriptor, _ in self._poll.poll(timeout):
            if action := self._actions.get(descriptor):
                action()
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            self._process.signal(signal.SIGKILL)

    def _note_exit(self) -> None:
        self._exited = True
        self._kill_at = None
        self._unwatch(self._process.pidfd)

    def _read_output(self, descriptor: int) -> bool:
        """Move one chunk to the log; False once there is nothing more to read now."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._keep(Frame(self._process.outputs[descriptor], data, time.time_ns()))
            return True
        self._unwatch(descriptor)
        return False

    def _keep(self, frame: Frame) -> None:
        """Into the log; what does not fit on the disk still reaches the clients that keep up."""
        if not self._log.append(frame):
            for session in self._sessions:
                session.send_unkept(frame)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = self._listener.accept()
            self.welcome(sessions.Session(connection))

    def welcome(self, session: sessions.Session) -> None:
        """Serve one more client."""
        self._sessions.add(session)
        self._watch(session.fileno(), functools.partial(self._serve, session))

    def _serve(self, session: sessions.Session) -> None:
        try:
            for frame in session.receive():
                self._answer(session, frame)
        except (EOFError, OSError, ValueError):
            self._dismiss(session)

    def _answer(self, session: sessions.Session, frame: Frame) -> None:
        match frame.kind:
            case Kind.FOLLOW:
                session.follow(0 if frame.payload == sessions.FROM_START else self._log.size)
            case Kind.STDIN:
                self._input += frame.payload
                self._write_input()
            case Kind.STDIN_END:
                self._input_ended = True
                self._write_input()
            case Kind.SIGNAL:
                self._process.signal(int(frame.payload))
            case _:
                raise ValueError(f"a client cannot send {frame.kind.name}")

    def _write_input(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            self._input.clear()
            return
        try:
            while self._input:
                del self._input[: os.write(stdin, self._input[:_CHUNK])]
        except BlockingIOError:
            self._watch(stdin, self._write_input, select.EPOLLOUT)
            return
        except BrokenPipeError:
            self._input.clear()
            self._input_ended = True
        self._unwatch(stdin)
        if self._input_ended:
            self._process.close_stdin()

    def _pump(self, session: sessions.Session) -> None:
        """Send what the client takes; listen to it while there is room for more input."""
        try:
            waiting = session.pump(self._log.descriptor, self._log.size)
        except OSError:
            self._dismiss(session)
            return
        if not waiting and session.hang_up_when_sent:
            self._dismiss(session)
            return
        room = len(self._input) < _INPUT_LIMIT
        events = (select.EPOLLIN if room else 0) | (select.EPOLLOUT if waiting else 0)
        if events != session.events:
            session.events = events
            self._watch(session.fileno(), self._actions[session.fileno()], events)

    def _dismiss(self, session: sessions.Session) -> None:
        """A client has gone; one that the container belongs to takes it along."""
        self._unwatch(session.fileno())
        self._sessions.discard(session)
        session.close()
        if session.owns_container:
            self._hang_up()

    def _terminate(self) -> None:
        os.read(self._termination, _CHUNK)
        self._hang_up()

    def _hang_up(self) -> None:
        """End the container: whoever it belongs to has gone, or the machine goes down."""
        if not self._exited and self._kill_at is None:
            self._process.signal(signal.SIGTERM)
            self._kill_at = time.monotonic() + _HANG_UP_GRACE

    def stop_listening(self) -> None:
        """No more clients: the container has ended."""
        if self._listener is not None:
            self._unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket_path)

    def close(self) -> None:
        self.stop_listening()
        for session in tuple(self._sessions):
            session.close()
        self._poll.close()


def _termination() -> int:
    """A descriptor that becomes readable when this process gets SIGTERM."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader


def detach() -> None:
    """Make the calling process a monitor: own session, no terminal, deaf to the signals meant for its client."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
