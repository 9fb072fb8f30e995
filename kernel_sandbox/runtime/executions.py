"""The processes that are executed in a running container beside its first one: for clients, and for health checks.

An execution's output goes to the client that asked for it and not to the log; a client that reads slowly slows the
execution down, one that has gone is as good as one that reads.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator

import msgspec

from kernel_sandbox.runtime import console, processes, streams
from kernel_sandbox.runtime.frames import Ending, Execution, Frame, Kind, Target
from kernel_sandbox.runtime.loop import Loop
from kernel_sandbox.runtime.process import ContainerProcess
from kernel_sandbox.runtime.sessions import Session
from kernel_sandbox.runtime.signals import send_to_all, session_of

_MOST_BACKLOG = 1 << 20


class _Running:
    """One execution: its process, and where what it writes goes to."""

    def __init__(self, loop: Loop, process: ContainerProcess, take: Callable[[Frame], object]) -> None:
        self.process = process
        self.input = streams.Input(loop, process)
        self._loop = loop
        self._take = take
        self._is_listening = False
        self.listen(True)

    def listen(self, wanted: bool) -> None:
        """Whether to take more of its output for now."""
        if wanted == self._is_listening:
            return
        self._is_listening = wanted
        for descriptor in self.process.outputs:
            if wanted:
                self._loop.watch(descriptor, functools.partial(self._read, descriptor))
            else:
                self._loop.unwatch(descriptor)

    def take_nothing(self) -> None:
        """Nobody wants the output any more."""
        self._take = _ignore
        self.listen(True)

    def _read(self, descriptor: int) -> int:
        data = streams.read(descriptor)
        if data:
            self._take(Frame.stamped(self.process.outputs[descriptor], data))
        elif data is not None:
            self._loop.unwatch(descriptor)
        return len(data or b"")

    def end(self) -> int:
        """It has ended, or is ended by this; returns its exit code once the rest of its output is taken."""
        self._loop.unwatch(self.process.pidfd)
        self.process.signal(signal.SIGKILL)
        for descriptor in tuple(self.process.outputs):
            streams.drain(descriptor, self._read)
            self._loop.unwatch(descriptor)
        code = self.process.reap()
        self.input.close()
        self.process.close()
        return code


class Executions:
    """Those of one run of a container.

    *start* starts a process inside; *begun* is told of it, and *ended* its id and exit code.
    """

    def __init__(
        self,
        loop: Loop,
        start: Callable[[Execution], ContainerProcess],
        begun: Callable[[Execution], object],
        ended: Callable[[str, int], object],
    ) -> None:
        self._loop = loop
        self._start = start
        self._begun = begun
        self._ended = ended
        self._running: dict[str, _Running] = {}
        self._clients: dict[str, Session] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._running)

    def serve(self, session: Session, wanted: Execution) -> None:
        """Execute for a client, who gets the output, then the exit code. Raises SandboxError where it cannot start."""
        running = self._begin(wanted, session.send if not wanted.detached else _ignore, lambda code: None)
        session.send(Frame(Kind.STARTED, wanted.id.encode()))
        if wanted.detached:
            session.hang_up_when_sent = True
            return
        session.input = running.input
        self._clients[wanted.id] = session

    def run(self, wanted: Execution, take: Callable[[Frame], object], done: Callable[[int], object]) -> None:
        """Execute for the monitor itself. Raises SandboxError."""
        self._begin(wanted, take, done)

    def _begin(self, wanted: Execution, take: Callable[[Frame], object], done: Callable[[int], object]) -> _Running:
        process = self._start(wanted)
        self._begun(wanted)
        running = self._running[wanted.id] = _Running(self._loop, process, take)
        self._loop.watch(process.pidfd, functools.partial(self._conclude, wanted.id, done))
        return running

    def _conclude(self, id_: str, done: Callable[[int], object]) -> None:
        code = self._running.pop(id_).end()
        session = self._clients.pop(id_, None)
        if session is not None:
            session.input = None
            session.send(Frame(Kind.EXITED, msgspec.msgpack.encode(Ending(code, False))))
            session.hang_up_when_sent = True
        self._ended(id_, code)
        done(code)

    def balance(self) -> None:
        """Take output only as fast as its readers read."""
        for id_, session in self._clients.items():
            self._running[id_].listen(session.backlog < _MOST_BACKLOG)

    def hung_up(self, session: Session) -> None:
        """A client has gone: its execution goes on without a reader."""
        for id_, client in tuple(self._clients.items()):
            if client is session:
                del self._clients[id_]
                session.hang_up_when_sent = True
                self._running[id_].take_nothing()

    def kill(self, id_: str) -> None:
        """End one of them with all the processes of its session."""
        if running := self._running.get(id_):
            leader = running.process.pid
            send_to_all(processes.all_pids(), signal.SIGKILL, lambda pid: session_of(pid) == leader)

    def signal(self, target: Target) -> None:
        """Send a signal to one of them; one that has ended needs none."""
        if running := self._running.get(target.execution):
            running.process.signal(target.signal())

    def resize(self, target: Target) -> None:
        """Resize the terminal of one of them."""
        running = self._running.get(target.execution)
        if running and running.process.terminal is not None:
            console.resize(running.process.terminal, target.size())

    def end_all(self) -> None:
        """The container has ended, and they with it."""
        for id_ in tuple(self._running):
            self._conclude(id_, _ignore)


def _ignore(_: object) -> None:
    """For what nobody wants to know."""
