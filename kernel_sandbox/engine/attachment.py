"""A client's end of a container: what it writes, what it is told, how it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator

import msgspec

from kernel_sandbox.errors import Conflict, HostError
from kernel_sandbox.runtime import sessions
from kernel_sandbox.runtime.frames import Decoder, Ending, Execution, Frame, Kind, Target
from kernel_sandbox.runtime.job import Failure
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.keys import KeySequence

_CHUNK = 1 << 16


class Attachment:
    """A connection to a container's monitor. A context manager; leaving it hangs up.

    *socket_path* is where the monitor listens; *lost* is called when the monitor turns out to have been killed.
    *execution* is the id of a process that was executed in the container, where it is that one which is attached to.
    """

    def __init__(
        self, connection: socket.socket, socket_path: str, lost: Callable[[], object], execution: str = ""
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._socket_path = socket_path
        self._lost = lost
        self._execution = execution
        self._frames = self._receive()
        self._outgoing = bytearray()
        self._stdin: int | None = None
        self._keys: KeySequence | None = None
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

    def output(self, stdin: int | None = None, keys: KeySequence | None = None) -> Iterator[Frame]:
        """What the container writes until it ends, while what comes from *stdin* is passed on to it.

        With *keys* that is a terminal in raw mode, on which they are typed to leave the container running. Afterwards
        ``ending`` is known, unless it was left. Raises HostError where the container was lost without an end, EOFError
        where the terminal has gone.
        """
        self._stdin, self._keys = stdin, keys
        yield from self._frames
        if keys is not None and keys.is_complete:
            self.detach()
            return
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
                    self.ending = msgspec.msgpack.decode(frame.payload, type=decodable(Ending))
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
                if self._keys is not None and self._keys.is_complete:
                    return b""

    def _received(self) -> bytes:
        try:
            return self._connection.recv(_CHUNK)
        except ConnectionResetError:
            return b""

    def _take_input(self, stdin: int | None) -> None:
        assert stdin is not None
        data = _typed(stdin)
        if data:
            self.write(data if self._keys is None else self._keys.feed(data))
        elif self._keys is not None:
            raise EOFError
        else:
            self._stdin = None
            self.end_input()

    def detach(self) -> None:
        """Hang up and leave the container running, also one that belongs to this connection."""
        self._send(Frame(Kind.LEAVE))
        while self._outgoing:
            select.select((), (self._connection,), ())
            self._flush()
        self.close()

    def execute(self, wanted: Execution) -> None:
        """Ask for one more process in the container, which this connection is then about; see ``await_start``."""
        self._execution = wanted.id
        self._send(Frame(Kind.EXECUTE, msgspec.msgpack.encode(wanted)))

    def ask(self, kind: Kind, payload: bytes = b"") -> None:
        """Have the monitor do something, and wait until it is done. Raises what kept it from that."""
        self._send(Frame(kind, payload))
        for frame in self._frames:
            if frame.kind is Kind.RESULT:
                return
        self._lost()
        raise Conflict("the container has ended")

    def follow(self, payload: bytes = b"") -> None:
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
        """A signal for the process that is attached to; one that has ended needs none."""
        self._tell(Kind.SIGNAL, int(number))

    def resize(self, rows: int, columns: int) -> None:
        """The size of the terminal that the process's own is to have; nothing without one."""
        self._tell(Kind.RESIZE, rows, columns)

    def _tell(self, kind: Kind, *numbers: int) -> None:
        """On a connection of its own: from a signal handler or any thread."""
        target = msgspec.msgpack.encode(Target(numbers, self._execution))
        with contextlib.suppress(OSError), sessions.connect(self._socket_path) as connection:
            connection.sendall(Frame(kind, target).encode())


def _typed(stdin: int) -> bytes:
    """More input, empty at its end; a terminal that has gone, or is another session's, has no more (EIO)."""
    try:
        return os.read(stdin, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
