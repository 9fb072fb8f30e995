"""Between a container, its log and its clients: bytes from the first process to whoever listens, and their input to it.

One relay serves all the runs of a container that is restarted; clients of an earlier run read on at their own pace.
What a client asks for besides is the monitor's business.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
from collections.abc import Callable

from kernel_sandbox.runtime import console, sessions, streams
from kernel_sandbox.runtime.frames import Frame, Kind, Target
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.runtime.loop import Loop
from kernel_sandbox.runtime.process import ContainerProcess
from kernel_sandbox.runtime.sessions import Session


class Relay:
    """*answer* gets every request that is not about the first process's streams; *hung_up* is told when a client that
    the container belongs to has gone."""

    def __init__(
        self,
        loop: Loop,
        log: LogWriter,
        socket_path: str,
        answer: Callable[[Session, Frame], object],
        hung_up: Callable[[Session], object],
    ) -> None:
        self._loop = loop
        self._log = log
        self._socket_path = socket_path
        self._answer_other = answer
        self._hung_up = hung_up
        self._sessions: set[Session] = set()
        self._process: ContainerProcess | None = None
        self._input: streams.Input | None = None
        self._listener: socket.socket | None = sessions.listen(socket_path)
        loop.watch(self._listener.fileno(), self._accept)

    def attend(self, process: ContainerProcess) -> None:
        """Serve this process from here on."""
        self._process = process
        self._input = streams.Input(self._loop, process)
        for descriptor in process.outputs:
            self._loop.watch(descriptor, functools.partial(self._read_output, descriptor))

    def turn(self, sent: Callable[[], object] = lambda: None) -> None:
        """Send what clients take, tell that by *sent*, wait for something to happen, and do it."""
        self._pump_all()
        sent()
        self._log.retain(session.offset for session in self._sessions if session.offset is not None)
        self._loop.turn()

    def let_go(self) -> None:
        """The process has ended: put the rest of its output into the log."""
        assert self._process is not None and self._input is not None
        for descriptor in tuple(self._process.outputs):
            streams.drain(descriptor, self._read_output)
            self._loop.unwatch(descriptor)
        self._log.finish_lines()
        self._input.close()
        self._process = self._input = None

    def conclude(self, last: Frame) -> None:
        """Let the clients read what is left, then the last frame. Another run would be none of theirs."""
        for session in self._sessions:
            session.owns_container = False
            if not session.hang_up_when_sent:
                session.send(last)
                session.hang_up_when_sent = True

    def finish(self) -> None:
        """Stay until every client has read everything."""
        self._pump_all()
        while self._sessions:
            self._loop.turn()
            self._pump_all()

    def _pump_all(self) -> None:
        for session in tuple(self._sessions):
            self._pump(session)

    def dismiss_all(self) -> None:
        """Do not wait for clients any longer."""
        for session in tuple(self._sessions):
            self._dismiss(session)

    def _read_output(self, descriptor: int) -> int:
        """Move one chunk to the log; returns its size, 0 once there is nothing more to read now."""
        assert self._process is not None
        data = streams.read(descriptor)
        if data:
            self._keep(Frame.stamped(self._process.outputs[descriptor], data))
        elif data is not None:
            self._loop.unwatch(descriptor)
        return len(data or b"")

    def _keep(self, frame: Frame) -> None:
        """Into the log; what does not fit on the disk still reaches the clients that keep up."""
        if unkept := self._log.append(frame):
            for session in self._sessions:
                session.send_unkept(Frame(frame.kind, unkept, frame.time))

    def _accept(self) -> bool:
        """Serve the next client; whether there is one."""
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return False
        self.welcome(Session(connection))
        return True

    def welcome(self, session: Session) -> None:
        """Serve one more client."""
        self._sessions.add(session)
        self._loop.watch(session.fileno(), functools.partial(self._serve, session))

    def _serve(self, session: Session) -> None:
        try:
            for frame in session.receive():
                self._answer(session, frame)
        except (EOFError, OSError, ValueError):
            self._dismiss(session)

    def _answer(self, session: Session, frame: Frame) -> None:
        match frame.kind:
            case Kind.FOLLOW:
                session.follow(int(frame.payload) if frame.payload else self._log.end)
            case Kind.LEAVE:
                session.owns_container = False
            case Kind.STDIN if session.input or self._input:
                (session.input or self._input).write(frame.payload)  # type: ignore[union-attr]
            case Kind.STDIN_END if session.input or self._input:
                (session.input or self._input).end()  # type: ignore[union-attr]
            case Kind.STDIN | Kind.STDIN_END:
                pass
            case Kind.RESIZE if not Target.read(frame.payload).execution:
                self._resize(Target.read(frame.payload))
            case _:
                self._answer_other(session, frame)

    def _resize(self, target: Target) -> None:
        if self._process is not None and self._process.terminal is not None:
            console.resize(self._process.terminal, target.size())

    def _pump(self, session: Session) -> None:
        """Send what the client takes; listen to it while there is room for more input."""
        try:
            waiting = session.pump(self._log)
        except OSError:
            self._dismiss(session)
            return
        if not waiting and session.hang_up_when_sent:
            self._dismiss(session)
            return
        taker = session.input or self._input
        events = (select.EPOLLIN if taker is None or taker.has_room else 0) | (select.EPOLLOUT if waiting else 0)
        if events != session.events:
            session.events = events
            self._loop.watch(session.fileno(), functools.partial(self._serve, session), events)

    def _dismiss(self, session: Session) -> None:
        """A client has gone."""
        if session not in self._sessions:
            return
        self._loop.unwatch(session.fileno())
        self._sessions.discard(session)
        session.close()
        self._hung_up(session)

    def stop_listening(self) -> None:
        """No more clients. Who has connected by then is served as the others are."""
        if self._listener is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket_path)
            while self._accept():
                continue
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self.stop_listening()
        for session in tuple(self._sessions):
            session.close()
