"""One process's standard input: what its client sends, written as the process takes it."""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Callable

from kernel_sandbox.runtime.loop import Loop
from kernel_sandbox.runtime.process import ContainerProcess

_CHUNK = 1 << 16
_LIMIT = 1 << 20
_END_OF_TRANSMISSION = b"\x04"


class Input:
    """Bytes on their way to a process."""

    def __init__(self, loop: Loop, process: ContainerProcess) -> None:
        self._loop = loop
        self._process = process
        self._waiting = bytearray()
        self._has_ended = False

    @property
    def has_room(self) -> bool:
        """Whether more may be taken from the client for now."""
        return len(self._waiting) < _LIMIT

    def write(self, data: bytes) -> None:
        self._waiting += data
        self._flush()

    def end(self) -> None:
        """Nothing more comes: the pipe is closed, a terminal is told by its character for that (termios(3), VEOF)."""
        if self._process.terminal is not None:
            self.write(_END_OF_TRANSMISSION)
            return
        self._has_ended = True
        self._flush()

    def _flush(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            self._waiting.clear()
            return
        try:
            while self._waiting:
                del self._waiting[: os.write(stdin, self._waiting[:_CHUNK])]
        except BlockingIOError:
            self._loop.watch(stdin, self._flush, select.EPOLLOUT)
            return
        except OSError:
            self._waiting.clear()
            self._has_ended = True
        self._loop.unwatch(stdin)
        if self._has_ended:
            self._process.close_stdin()

    def close(self) -> None:
        """The process has gone."""
        if self._process.stdin is not None:
            self._loop.unwatch(self._process.stdin)
        self._waiting.clear()


def drain(descriptor: int, read_some: Callable[[int], int]) -> None:
    """Read what a process that has ended has left; *read_some* returns a number of bytes.

    Processes that it left behind may write on for ever: no more is read than can have been there at its end.
    """
    try:
        left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    except OSError:
        left = _CHUNK
    while left > 0 and (count := read_some(descriptor)):
        left -= count


def read(descriptor: int) -> bytes | None:
    """What a process has written, at most one chunk; None where there is nothing now, empty at the end."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # EIO: a terminal that no process has open any more
