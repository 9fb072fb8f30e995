"""Frames: how a monitor and its clients talk, and how a container's output is kept in its log.

A frame is a 16-byte header, ``kind`` (1 byte), 3 zero bytes, the payload's length (4 bytes, big-endian) and a
time in nanoseconds since the epoch (8 bytes, big-endian), then the payload. Output keeps Docker's stream numbers
(1 standard output, 2 standard error), and the log is nothing but output frames: what a client reads is what
the disk holds, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

import msgspec

_HEADER = struct.Struct(">B3xIQ")
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
    STARTED = 32
    FAILED = 33
    EXITED = 34
    RESULT = 35


class Frame(msgspec.Struct, frozen=True):
    """One message; ``time`` is 0 where it means nothing."""

    kind: Kind
    payload: bytes = b""
    time: int = 0

    def encode(self) -> bytes:
        return _HEADER.pack(self.kind, len(self.payload), self.time) + self.payload


class Ending(msgspec.Struct, frozen=True):
    """What an EXITED frame carries: how the first process ended, its status or 128 + n for signal n."""

    exit_code: int
    oom_killed: bool


class Decoder:
    """Bytes in any pieces → whole frames. Raises ValueError for what is not a frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            kind, length, time = _HEADER.unpack_from(self._buffer)
            if length > MAX_PAYLOAD:
                raise ValueError(f"a frame of {length} bytes")
            end = HEADER_SIZE + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEADER_SIZE:end])
            del self._buffer[:end]
            yield Frame(Kind(kind), payload, time)
