"""A client's end of a container: what it writes, what it is told, how it ends."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime.frames import Decoder, Ending, Frame, Kind
from kernel_sandbox.runtime.launcher import Failure

_CHUNK = 1 << 16


class Attachment:
    """A connection to a container's monitor. A context manager; leaving it hangs up."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = self._receive()
        self._stdin: int | None = None
        self.ending: Ending | None = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def fileno(self) -> int:
        """The connection's descriptor, to be waited for."""
        return self._connection.fileno()

    def await_start(self) -> None:
        """Until the container's process runs. Raises what kept it from starting."""
        for frame in self._frames:
            if frame.kind is Kind.STARTED:
                return
        raise HostError("the container's monitor was killed before the container ran: try again")

    def output(self, stdin: int | None = None) -> Iterator[Frame]:
        """What the container writes until it ends, while what comes from *stdin* is passed on to it.

        Afterwards ``ending`` is known. Raises HostError where the container was lost without an end.
        """
        self._stdin = stdin
        yield from self._frames
        if self.ending is None:
            raise HostError("the container's monitor was killed, and the container with it")

    def end(self) -> Ending:
        """Wait for the container's end. Raises HostError without one."""
        for _ in self.output():
            pass
        assert self.ending is not None
        return self.ending

    def wait_for_end(self, seconds: float | None) -> bool:
        """Wait, on a connection that follows no output, for at most *seconds*; whether the container has ended."""
        ready, _, _ = select.select([self._connection], [], [], seconds)
        if ready:
            self.end()
        return bool(ready)

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
        if self._stdin is not None:
            self._feed(self._stdin)
        try:
            return self._connection.recv(_CHUNK)
        except ConnectionResetError:
            return b""

    def _feed(self, stdin: int) -> None:
        """Pass input on until there is output to read."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(stdin, select.POLLIN)
        while self._connection.fileno() not in (ready := dict(poll.poll())):
            if stdin in ready and not self._pass_on(stdin):
                return

    def _pass_on(self, stdin: int) -> bool:
        data = os.read(stdin, _CHUNK)
        if data:
            self.write(data)
            return True
        self._stdin = None
        self.end_input()
        return False

    def follow(self, payload: bytes) -> None:
        """Ask for the output, from the log's start or from now on (``sessions.FROM_START``)."""
        self._send(Frame(Kind.FOLLOW, payload))

    def write(self, data: bytes) -> None:
        """More standard input; may wait until the container reads."""
        for start in range(0, len(data), _CHUNK):
            self._send(Frame(Kind.STDIN, data[start : start + _CHUNK]))

    def end_input(self) -> None:
        """Nothing more will be written."""
        self._send(Frame(Kind.STDIN_END))

    def signal(self, number: int) -> None:
        """A signal for the container's first process."""
        self._send(Frame(Kind.SIGNAL, str(int(number)).encode()))

    def _send(self, frame: Frame) -> None:
        """A container that has ended needs nothing any more."""
        try:
            self._connection.sendall(frame.encode())
        except (BrokenPipeError, ConnectionResetError):
            return
