"""A container's two output streams → text, as it comes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TextIO

from kernel_sandbox.runtime.frames import Frame, Kind


class Streams:
    """Where a container's output goes: to the cell, or into memory."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")
        self._targets = {
            Kind.STDOUT: (stdout, decoder(errors="replace")),
            Kind.STDERR: (stderr, decoder(errors="replace")),
        }

    def copy(self, frames: Iterable[Frame]) -> None:
        """Write every frame's payload; a character cut by the end of a frame waits for its rest."""
        previous = None
        for frame in frames:
            target, decoder = self._targets[frame.kind]
            if previous is not target:
                self._flush()  # the order of the two streams is the container's
                previous = target
            text = decoder.decode(frame.payload)
            target.write(text)
            if not text.endswith("\n"):
                target.flush()  # a prompt, or progress
        for target, decoder in self._targets.values():
            target.write(decoder.decode(b"", final=True))
        self._flush()

    def _flush(self) -> None:
        for target, _ in self._targets.values():
            target.flush()
