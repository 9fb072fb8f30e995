"""A client's end of a container: what it writes, what it is told, how it ends."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime import sessions
from kernel_sandbox.runtime.frames import Decoder, Ending, Frame, Kind
from kernel_sandbox.runtime.launcher import Failure

_CHUNK = 1 << 16


class Attachment:
    """A connection to a container's monitor. A context manager; leaving it hangs up.

    *socket_path* is where the monitor listens; *lost* is called when the monitor turns out to have been killed.
    """

    def __init__(self, connection: socket.socket, socket_path: str, lost: Callable[[], object]) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._socket_path = socket_path
        self._lost = lost
        self._frames = self._receive()
        self._outgoing = bytearray()
        self._stdin: int | None = None
        self.ending: Ending | None = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, also where a forked process has the connection open."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def await_start(self) -> None:
        """Until the container's process runs. Raises what kept it from starting."""
        for frame in self._frames:
            if frame.kind is Kind.STARTED:
                return
        self._lost()
        raise HostError("the container's monitor was killed before the container ran: try again")

    def output(self, stdin: int | None = None) -> Iterator[Frame]:
        """What the container writes until it ends, while what comes from *stdin* is passed on to it.

        Afterwards ``ending`` is known. Raises HostError where the container was lost without an end.
        """
        self._stdin = stdin
        yield from self._frames
        if self.ending is None:
            self._lost()
            raise HostError("the container's monitor was killed, and the container with it")

    def end(self) -> Ending:
        """Wait for the container's end. Raises HostError without one."""
        for _ in self.output():
            pass
        assert self.ending is not None
        return self.ending

    def wait_for_end(self, seconds: float | None) -> bool:
        """Wait, on a connection that follows no output, for at most *seconds*; whether the container has ended."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        has_ended = bool(poll.poll(None if seconds is None else seconds * 1000))
        if has_ended:
            self.end()
        return has_ended

    def _receive(self) -> Iterator[Frame]:
        """Every frame but the last, which becomes ``ending``. Raises a failure that comes instead."""
        decoder = Decoder()
        while data := self._read():
            for frame in decoder.feed(data):
                if frame.kind is Kind.FAILED:
                    raise Failure.read(frame).error()
                if frame.kind is Kind.EXITED:
                    self.ending = msgspec.msgpack.decode(frame.payload, type=Ending)
                    return
                yield frame

    def _read(self) -> bytes:
        """The next bytes, empty at the end; input and requests are sent meanwhile, as the monitor takes them."""
        while True:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
            if self._stdin is not None and not self._outgoing:
                poll.register(self._stdin, select.POLLIN)
            ready = dict(poll.poll())
            if ready.get(self._connection.fileno(), 0) & ~select.POLLOUT:
                return self._received()
            self._flush()
            if self._stdin in ready:
                self._take_input(self._stdin)

    def _received(self) -> bytes:
        try:
            return self._connection.recv(_CHUNK)
        except ConnectionResetError:
            return b""

    def _take_input(self, stdin: int | None) -> None:
        assert stdin is not None
        data = os.read(stdin, _CHUNK)
        if data:
            self.write(data)
        else:
            self._stdin = None
            self.end_input()

    def follow(self, payload: bytes) -> None:
        """Ask for the output, from the log's start or from now on (``sessions.FROM_START``)."""
        self._send(Frame(Kind.FOLLOW, payload))

    def write(self, data: bytes) -> None:
        """More standard input. What the container does not read yet is sent while ``output`` is read."""
        for start in range(0, len(data), _CHUNK):
            self._send(Frame(Kind.STDIN, data[start : start + _CHUNK]))

    def end_input(self) -> None:
        """Nothing more will be written."""
        self._send(Frame(Kind.STDIN_END))

    def _send(self, frame: Frame) -> None:
        self._outgoing += frame.encode()
        self._flush()

    def _flush(self) -> None:
        """As much as the monitor takes now; one that has gone needs nothing any more."""
        try:
            while self._outgoing:
                del self._outgoing[: self._connection.send(self._outgoing)]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()

    def signal(self, number: int) -> None:
        """A signal for the container's first process, on a connection of its own: from a signal handler or any thread.

        A container that has ended needs none.
        """
        with contextlib.suppress(OSError), sessions.connect(self._socket_path) as connection:
            connection.sendall(Frame(Kind.SIGNAL, str(int(number)).encode()).encode())
