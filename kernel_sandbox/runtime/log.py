"""A container's log: every byte it wrote, in frames, in the order in which they came.

The log is also the buffer between the container and whoever reads along: readers follow the file at their own
pace, so that none of them can hold the container up or make it lose output.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import BinaryIO

from kernel_sandbox.runtime.frames import Decoder, Frame, Kind

_PIECE = 1 << 20


class LogWriter:
    """Appends frames; ``size`` is always the end of a whole frame."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.descriptor).st_size

    def append(self, kind: Kind, data: bytes) -> None:
        """One more piece of output. On a full disk the piece is lost, the container goes on."""
        frame = Frame(kind, data, time.time_ns()).encode()
        try:
            written = os.write(self.descriptor, frame)
        except OSError:
            return
        if written < len(frame):
            os.ftruncate(self.descriptor, self.size)
        else:
            self.size += written

    def close(self) -> None:
        os.close(self.descriptor)


def read(file: BinaryIO) -> Iterator[Frame]:
    """The output frames of a log; a torn frame at its end (the machine went down) is left out."""
    decoder = Decoder()
    while piece := file.read(_PIECE):
        yield from decoder.feed(piece)
