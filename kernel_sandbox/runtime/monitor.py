"""One monitor per container: starts its process, keeps its output, serves its clients, records its end.

The monitor has one thread, a session of its own and no terminal; it outlives the client that asked for the
container. What it learns goes to a ``Journal`` (the engine's); how it talks is in ``frames``. Should it be killed,
the kernel ends the container with it (PR_SET_PDEATHSIG in ``init``), and the next command finds that out.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Protocol

import msgspec

from kernel_sandbox.errors import Conflict, SandboxError
from kernel_sandbox.runtime import command, freezer, namespaces, process
from kernel_sandbox.runtime.cgroups import Cgroup
from kernel_sandbox.runtime.executions import Executions
from kernel_sandbox.runtime.frames import Ending, Execution, Frame, Kind, Target
from kernel_sandbox.runtime.gate import Gate
from kernel_sandbox.runtime.health import HealthMonitor, as_process
from kernel_sandbox.runtime.job import Failure
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.runtime.loop import Loop, Timer
from kernel_sandbox.runtime.relay import Relay
from kernel_sandbox.runtime.sessions import Session
from kernel_sandbox.runtime.signals import start_time
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.runtime import Resources

_HANG_UP_GRACE = 2.0
_IDLE_SECONDS = 1.0
_NEWS_SECONDS = 0.03


class Running(msgspec.Struct, frozen=True):
    """A started container: the host's pid of its first process, when that one started (proc_pid_stat(5) field 22,
    which tells it from a later process of the same number), and its control groups."""

    pid: int
    start_time: int
    cgroups: tuple[str, ...]


class Check(msgspec.Struct, frozen=True):
    """A container's health check, and the shell that runs one which is a line of shell."""

    check: Healthcheck
    shell: tuple[str, ...]


class Journal(Protocol):
    """Where a monitor records what happens; other processes see it when the call returns.

    An end that cannot be recorded (a full disk) is found out by the next command.
    """

    def started(self, running: Running) -> None: ...

    def paused(self, paused: bool) -> None: ...

    def healthy(self, health: Health) -> None: ...

    def executing(self, execution: Execution) -> None: ...

    def executed(self, execution: str, exit_code: int) -> None: ...

    def publish(self) -> bool:
        """Record what executions there were, if any: a moment later, so that their clients do not wait for the disk."""

    def rest(self) -> None:
        """It has been running for a while: let go of what takes memory."""


class Monitor:
    """The monitor of one container, through all its runs. A context manager; leaving it hangs up on everyone."""

    def __init__(self, log: LogWriter, socket_path: str, journal: Journal) -> None:
        self._journal = journal
        self._loop = Loop()
        self._log = log
        self._relay = Relay(self._loop, self._log, socket_path, self._answer, self._note_hang_up)
        self._run: _Run | None = None
        self._kill_timer: Timer | None = None
        self._termination = _termination()
        self._loop.watch(self._termination, self._terminate)
        self.is_told_to_end = False

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.close()
        self._log.close()
        self._loop.close()

    def welcome(self, session: Session) -> None:
        """Serve the client that asked for the container."""
        self._relay.welcome(session)

    def run(self, container: process.Container, check: Check | None, first: Session | None) -> Ending:
        """Start the container and stay with it until it has ended; *first* is told that it runs.

        Raises ContainerStartError or HostError where it does not start; then nothing is left of it.
        """
        with contextlib.ExitStack() as stack:
            cgroup = Cgroup.create(container.id, container.spec.linux.resources, container.privileged)
            stack.callback(cgroup.remove)
            first_process = process.start(container, cgroup)
            stack.callback(first_process.close)
            run = self._run = _Run(self._loop, self._journal, container, cgroup, first_process)
            stack.callback(self._forget_run)
            self._journal.started(Running(first_process.pid, start_time(first_process.pid), cgroup.paths))
            self._relay.attend(first_process)
            stack.callback(self._loop.after(_IDLE_SECONDS, self._journal.rest).cancel)
            if first:
                first.send(Frame(Kind.STARTED, str(first_process.pid).encode()))
            if check:
                run.check_health(check)
            while not run.has_ended:
                self._relay.turn(sent=run.executions.balance)
            return run.end(self._relay)

    def _forget_run(self) -> None:
        self._run = None
        if self._kill_timer:
            self._kill_timer.cancel()
            self._kill_timer = None

    def conclude(self, ending: Ending) -> None:
        """Tell the clients of the run that has ended, once they have read its output."""
        self._relay.conclude(Frame(Kind.EXITED, msgspec.msgpack.encode(ending)))

    def wait(self, seconds: float) -> bool:
        """Between two runs; False where the container was told to end meanwhile."""
        over: list[bool] = []
        timer = self._loop.after(seconds, lambda: over.append(True))
        while not over and not self.is_told_to_end:
            self._relay.turn()
        timer.cancel()
        return not self.is_told_to_end

    def stop_listening(self) -> None:
        """No more clients: the container has ended for good."""
        self._relay.stop_listening()

    def finish(self) -> None:
        """Stay until every client has read everything."""
        self._relay.finish()

    def _answer(self, session: Session, frame: Frame) -> None:
        """A request that is not about the first process's streams. Raises ValueError for what is none."""
        if frame.kind is Kind.SIGNAL:
            self._signal(Target.read(frame.payload))
            return
        if frame.kind is Kind.RESIZE:
            if self._run:
                self._run.executions.resize(Target.read(frame.payload))
            return
        try:
            self._carry_out(session, frame)
        except SandboxError as error:
            session.send(Failure.of(error).frame())
            session.hang_up_when_sent = True

    def _carry_out(self, session: Session, frame: Frame) -> None:
        run = self._run
        if run is None:
            raise Conflict("the container is not running")
        match frame.kind:
            case Kind.EXECUTE:
                run.executions.serve(session, msgspec.msgpack.decode(frame.payload, type=decodable(Execution)))
                return
            case Kind.PAUSE | Kind.UNPAUSE:
                run.pause(frame.kind is Kind.PAUSE)
            case Kind.LIMIT:
                run.limit(msgspec.msgpack.decode(frame.payload, type=decodable(Resources)))
            case _:
                raise ValueError(f"a client cannot send {frame.kind.name}")
        session.send(Frame(Kind.RESULT))
        session.hang_up_when_sent = True

    def _signal(self, target: Target) -> None:
        if target.execution:
            if self._run:
                self._run.executions.signal(target)
            return
        self.is_told_to_end = True
        if self._run:
            self._run.signal(target.signal())

    def _note_hang_up(self, session: Session) -> None:
        """A client has gone; one that the container belongs to takes it along."""
        if self._run:
            self._run.executions.hung_up(session)
        if session.owns_container:
            self._hang_up()

    def _terminate(self) -> None:
        os.read(self._termination, 1 << 10)
        if self._run and not self._run.has_ended:
            self._hang_up()
        else:
            self.is_told_to_end = True
            self._relay.dismiss_all()

    def _hang_up(self) -> None:
        """End the container: whoever it belongs to has gone, or the machine goes down."""
        self.is_told_to_end = True
        if self._run and not self._run.has_ended and self._kill_timer is None:
            run = self._run
            run.signal(signal.SIGTERM)
            self._kill_timer = self._loop.after(_HANG_UP_GRACE, lambda: run.signal(signal.SIGKILL))


class _Run:
    """One run of the container: its processes and its control groups."""

    def __init__(
        self,
        loop: Loop,
        journal: Journal,
        container: process.Container,
        cgroup: Cgroup,
        first: process.ContainerProcess,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._container = container
        self._first = first
        self._health: HealthMonitor | None = None
        self._is_paused = False
        self._gate: Gate | None = None
        self._mounts = first.mounts
        self._rest: Timer | None = None
        self.cgroup = cgroup
        self.has_ended = False
        self.executions = Executions(loop, self._execute, self._begun, self._ended)
        loop.watch(first.pidfd, self._note_end)

    def _note_end(self) -> None:
        self.has_ended = True
        self._loop.unwatch(self._first.pidfd)

    def _execute(self, wanted: Execution) -> process.ContainerProcess:
        if self._is_paused:
            raise Conflict("the container is paused, unpause the container before exec")
        if self._gate is not None and self._gate.is_lost:
            self._close_gate()
        if self._gate is None:
            self._gate = process.gate(self._container, self._first.pid, self.cgroup)
        return process.execute(wanted.process, wanted.keeps_stdin, self._gate)

    def _close_gate(self) -> None:
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    def _begun(self, execution: Execution) -> None:
        self._journal.executing(execution)
        self._loop.after(_NEWS_SECONDS, self._publish)

    def _ended(self, id_: str, exit_code: int) -> None:
        self._journal.executed(id_, exit_code)
        self._loop.after(_NEWS_SECONDS, self._publish)

    def _publish(self) -> None:
        if self._journal.publish():
            if self._rest:
                self._rest.cancel()
            self._rest = self._loop.after(_IDLE_SECONDS, self._journal.rest)

    def check_health(self, check: Check) -> None:
        """Have its health checked for as long as it runs."""
        wanted = as_process(check.check, check.shell, self._container.spec.process)
        self._health = HealthMonitor(self._loop, self.executions, check.check, wanted, self._journal.healthy)

    def signal(self, number: int) -> None:
        """To the first process; one that is paused goes on, to act on it."""
        self._first.signal(number)
        if self._is_paused:
            self.pause(False)

    def pause(self, wanted: bool) -> None:
        """Stop every process, or let them go on. Raises Conflict where that is so already, HostError."""
        if wanted == self._is_paused:
            raise Conflict("the container is already paused" if wanted else "the container is not paused")
        freezer.freeze(self.cgroup.paths, self._first.pid, wanted)
        self._is_paused = wanted
        self._journal.paused(wanted)

    def limit(self, resources: Resources) -> None:
        """Give the container other limits. Raises HostError."""
        self.cgroup = self.cgroup.limited(self._container.id, resources, self._container.privileged)
        self._close_gate()

    def end(self, relay: Relay) -> Ending:
        """After the first process's end: the others', and how it was."""
        if self._health:
            self._health.stop()
        if self._mounts is not None:
            namespaces.end_processes_in(self._mounts)
            os.close(self._mounts)
        self.executions.end_all()
        self._close_gate()
        relay.let_go()
        ending = Ending(self._first.reap(), self.cgroup.oom_killed())
        with contextlib.suppress(OSError):
            self.cgroup.remove()
        return ending


def _termination() -> int:
    """A descriptor that becomes readable when this process gets SIGTERM."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader


def detach(kept: Sequence[int]) -> None:
    """Make the calling process a monitor: own session, no terminal, deaf to the signals meant for its client.

    Of its client's descriptors it keeps only those.
    """
    os.setsid()
    command.close_others(kept)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
