"""A container's log: every byte it wrote, in frames, in the order in which they came.

The log is also the buffer between the container and whoever reads along: readers follow the file at their own
pace, so that none of them can hold the container up or make it lose output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from kernel_sandbox.runtime.frames import Decoder, Frame

_PIECE = 1 << 20


class LogWriter:
    """Appends frames; ``size`` is always the end of a whole frame."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.descriptor).st_size

    def append(self, frame: Frame) -> bool:
        """One more piece of output; False where it could not be kept (a full disk), and nothing of it was."""
        data = frame.encode()
        try:
            written = os.write(self.descriptor, data)
        except OSError:
            return False
        if written < len(data):
            os.ftruncate(self.descriptor, self.size)
            return False
        self.size += written
        return True

    def close(self) -> None:
        os.close(self.descriptor)


def read(file: BinaryIO) -> Iterator[Frame]:
    """The output frames of a log; a torn frame at its end (the machine went down) is left out."""
    decoder = Decoder()
    while piece := file.read(_PIECE):
        yield from decoder.feed(piece)
