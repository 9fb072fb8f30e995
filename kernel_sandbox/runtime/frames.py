"""Frames: how a monitor and its clients talk, and how a container's output is kept in its log.

A frame is a 16-byte header, ``kind`` (1 byte), ``continues`` (1 byte), 2 zero bytes, the payload's length (4 bytes,
big-endian) and a time in nanoseconds since the epoch (8 bytes, big-endian), then the payload. Zero bytes between
frames mean nothing. Output keeps Docker's stream numbers
(1 standard output, 2 standard error), and the log is nothing but output frames: what a client reads is what
the disk holds, byte for byte.
"""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Iterator
from enum import IntEnum

import msgspec

from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.runtime import ConsoleSize, Process

_HEADER = struct.Struct(">BB2xIQ")
HEADER_SIZE = _HEADER.size
MAX_PAYLOAD = 1 << 20


class Kind(IntEnum):
    """What a frame carries. From 16 on: requests to a monitor; from 32 on: its answers."""

    STDOUT = 1
    STDERR = 2
    STDIN = 16
    STDIN_END = 17
    SIGNAL = 18
    FOLLOW = 19
    RESIZE = 20
    LEAVE = 21
    EXECUTE = 22
    PAUSE = 23
    UNPAUSE = 24
    LIMIT = 25
    STARTED = 32
    FAILED = 33
    EXITED = 34
    RESULT = 35


_OUTPUTS = {Kind.STDOUT.value: Kind.STDOUT, Kind.STDERR.value: Kind.STDERR}


class Frame(msgspec.Struct, frozen=True):
    """One message; ``time`` is 0 where it means nothing. ``continues``: output that begins in the midst of a line."""

    kind: Kind
    payload: bytes = b""
    time: int = 0
    continues: bool = False

    @classmethod
    def stamped(cls, kind: Kind, payload: bytes) -> Frame:
        """A piece of output that has just been read."""
        return cls(kind, payload, time.time_ns())

    def encode(self) -> bytes:
        return header(self.kind, len(self.payload), self.time, self.continues) + self.payload


class Target(msgspec.Struct, frozen=True):
    """What a SIGNAL or RESIZE frame carries: the numbers, and for which execution, empty for the first process."""

    numbers: tuple[int, ...]
    execution: str = ""

    @classmethod
    def read(cls, payload: bytes) -> Target:
        """Raises ValueError for anything else."""
        return msgspec.msgpack.decode(payload, type=decodable(cls))

    def signal(self) -> int:
        """The signal's number. Raises ValueError."""
        (number,) = self.numbers
        if not 0 < number < signal.NSIG:
            raise ValueError(f"no signal has the number {number}")
        return number

    def size(self) -> ConsoleSize:
        """A terminal's size, given as rows and columns. Raises ValueError."""
        rows, columns = self.numbers
        if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise ValueError(f"no terminal has {rows} rows and {columns} columns")
        return ConsoleSize(height=rows, width=columns)


class Execution(msgspec.Struct, frozen=True):
    """What an EXECUTE frame carries: one more process for a running container, its id and what it is to be.

    ``detached``: nobody follows its output.
    """

    id: str
    process: Process
    keeps_stdin: bool
    detached: bool


class Ending(msgspec.Struct, frozen=True):
    """What an EXITED frame carries: how the first process ended, its status or 128 + n for signal n."""

    exit_code: int
    oom_killed: bool


def header(kind: Kind, length: int, time: int, continues: bool) -> bytes:
    """What stands before a payload of so many bytes."""
    return _HEADER.pack(kind, continues, length, time)


def headers(data: bytes) -> Iterator[tuple[Kind, bool, int, int, int]]:
    """The whole output frames at the start of *data*: kind, continues, time, and where the payload begins and ends."""
    end, unpack, size = 0, _HEADER.unpack_from, len(data)
    while (start := end + HEADER_SIZE) <= size:
        number, continues, length, time = unpack(data, end)
        kind = _OUTPUTS.get(number)
        end = start + length
        if kind is None or end > size:
            return
        yield kind, continues > 0, time, start, end


class Decoder:
    """Bytes in any pieces → whole frames. Raises ValueError for what is not a frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while self._skip_zeros() and len(self._buffer) >= HEADER_SIZE:
            kind, continues, length, time = _HEADER.unpack_from(self._buffer)
            if length > MAX_PAYLOAD:
                raise ValueError(f"a frame of {length} bytes")
            end = HEADER_SIZE + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEADER_SIZE:end])
            del self._buffer[:end]
            yield Frame(Kind(kind), payload, time, continues > 0)

    def _skip_zeros(self) -> bool:
        """Past what is between frames; whether something follows."""
        while self._buffer and not self._buffer[0]:
            del self._buffer[0]
        return bool(self._buffer)
