"""Streams that are worked on in a thread of their own: what is slow there, mostly without Python's lock (digests,
compression, reading), goes on beside what the caller does with the bytes.

What does not belong here: what the streams hold. Both ends keep a few pieces of ``CHUNK`` bytes at most.
"""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from kernel_sandbox.storage.tar import CHUNK, Sink, Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECES = 4  # that wait between the two threads


@contextmanager
def read_ahead(source: Source) -> Iterator[BinaryIO]:
    """A stream of what *source* yields, read by another thread; its errors are raised where they would have been.

    When the block ends early that thread ends after its present read, for which nobody waits.
    """
    ahead = _Ahead(source)
    try:
        yield io.BufferedReader(ahead, CHUNK)
    finally:
        ahead.abandon()


class _Ahead(io.RawIOBase):
    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_PIECES)
        self._piece = memoryview(b"")
        self._is_abandoned = False
        self._is_at_end = False
        threading.Thread(target=self._read, name="read ahead", daemon=True).start()

    def _read(self) -> None:
        try:
            while not self._is_abandoned and (piece := self._source.read(CHUNK)):
                self._pieces.put(piece)
            self._pieces.put(b"")
        except BaseException as error:
            self._pieces.put(error)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._piece and not self._is_at_end:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                self._is_at_end = True
                raise piece
            self._piece = memoryview(piece)
            self._is_at_end = not piece
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def abandon(self) -> None:
        """Let the other thread end: it waits for room once or twice more at most."""
        self._is_abandoned = True
        while not self._pieces.empty():
            self._pieces.get_nowait()


class WriteBehind:
    """A sink whose bytes another thread gives to *sink*, in order; used as a context manager.

    What is less than a piece in all is not worth a thread. An error of *sink* is raised by a later write, or at the end
    of the block, which waits until all is written.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: queue.Queue[bytes] = queue.Queue(_PIECES)
        self._parts: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._thread is None:
            if kind is None and self._size:
                self._sink.write(b"".join(self._parts))
            return
        if kind is None:
            self._pass_on()
        self._queue.put(b"")
        self._thread.join()
        if kind is None and self._error:
            raise self._error

    def write(self, data: bytes, /) -> int:
        """Take bytes, which must not change any more."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= CHUNK:
            self._pass_on()
        return len(data)

    def _pass_on(self) -> None:
        if self._error:
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="write behind", daemon=True)
            self._thread.start()
        if self._size:
            self._queue.put(b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    def _write(self) -> None:
        while data := self._queue.get():
            if self._error is None:
                try:
                    self._sink.write(data)
                except BaseException as error:
                    self._error = error
