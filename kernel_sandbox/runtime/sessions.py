"""A monitor's clients: what each may still read of the log, and what it sends.

A client follows the log itself, by sendfile(2) and at its own pace; answers wait until it has read the output
that came before them. Nothing here knows the container.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernel_sandbox.runtime.frames import Decoder, Frame

if TYPE_CHECKING:
    from kernel_sandbox.runtime.log import LogWriter
    from kernel_sandbox.runtime.streams import Input

FROM_START = b"0"
_CHUNK = 1 << 16
_UNKEPT_LIMIT = 1 << 22


class Session:
    """One connection.

    *owns_container*: when the client goes away before the container has ended, the container ends too. ``input`` is
    that of a process of the client's own (``EXECUTE``), else what it sends is for the first process.
    ``events`` is what the monitor's epoll waits for on it, ``offset`` how far it has read the log, if it follows that.
    """

    def __init__(self, connection: socket.socket, owns_container: bool = False) -> None:
        connection.setblocking(False)
        self._socket = connection
        self.owns_container = owns_container
        self.hang_up_when_sent = False
        self.events = 0
        self.input: Input | None = None
        self._decoder = Decoder()
        self._answers = bytearray()
        self.offset: int | None = None

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def follow(self, offset: int) -> None:
        """Send the log from *offset* on, and all that is appended."""
        self.offset = offset

    def send(self, frame: Frame) -> None:
        """Queue an answer."""
        self._answers += frame.encode()

    @property
    def backlog(self) -> int:
        """Bytes that are queued beside the log."""
        return len(self._answers)

    def send_unkept(self, frame: Frame) -> None:
        """Pass output on that the log could not take, unless the client is far behind."""
        if self.offset is not None and len(self._answers) < _UNKEPT_LIMIT:
            self.send(frame)

    def receive(self) -> Iterator[Frame]:
        """The frames that have come. Raises EOFError when the client has gone."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        yield from self._decoder.feed(data)

    def pump(self, log: LogWriter) -> bool:
        """Send as much as the client takes; True while something is left."""
        try:
            while self.offset is not None and self.offset < log.end:
                self.offset = log.send(self._socket.fileno(), self.offset)
            while self._answers:
                del self._answers[: self._socket.send(self._answers)]
        except BlockingIOError:
            return True
        return False


def listen(path: str) -> socket.socket:
    """A Unix socket at *path*, for its owner alone; a path of any length (unix(7) allows 107 bytes)."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        listener.listen()
    finally:
        os.close(directory)
    return listener


def connect(path: str) -> socket.socket:
    """A client's connection to the monitor that listens at *path*."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
    return connection
