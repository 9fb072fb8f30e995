"""What a monitor does all day: bytes from the container to its log and clients, and their input and signals to it."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from kernel_sandbox.runtime import sessions
from kernel_sandbox.runtime.frames import Frame, Kind
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.runtime.process import ContainerProcess

_CHUNK = 1 << 16
_INPUT_LIMIT = 1 << 20
_HANG_UP_GRACE = 2.0


class Relay:
    """Moves bytes between the container, its log and its clients, and passes their signals on."""

    def __init__(self, process: ContainerProcess, log: LogWriter, socket_path: str) -> None:
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
        with contextlib.suppress(OSError):
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
                self._process.signal(_signal_number(frame.payload))
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
        if self._exited:
            for session in tuple(self._sessions):
                self._dismiss(session)

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


def _signal_number(payload: bytes) -> int:
    number = int(payload)
    if not 0 < number < signal.NSIG:
        raise ValueError(f"no signal has the number {number}")
    return number


def _termination() -> int:
    """A descriptor that becomes readable when this process gets SIGTERM."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader
