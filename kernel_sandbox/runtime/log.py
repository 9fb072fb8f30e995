"""A container's log: every byte it wrote, in frames, in the order in which they came.

The log is also the buffer between the container and whoever reads along: readers follow its files at their own pace,
so that none of them can hold the container up or make it lose output.

It is a directory of segments. A place in the log is an offset into all output frames ever written; a segment is named
by the offset at which it begins, so its name and its bytes never change, and dropping the oldest moves nothing. What
stands first in a segment counts as the beginning of a line. A segment consists of blocks, and no frame straddles two of
them (zeros fill what is too short for one): whoever wants the end of a log, or a time in it, starts at a block. Which
lines of it a user wants is not decided here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from operator import itemgetter

import msgspec

from kernel_sandbox.runtime.frames import HEADER_SIZE, Frame, Kind, header, headers

BLOCK = 1 << 18
_MOST_BEHIND = 64
_SEND_AT_ONCE = 1 << 20
_NEWLINE = ord("\n")


class Block(msgspec.Struct, frozen=True):
    """A piece of a log that begins with a frame; ``offset`` is its place."""

    offset: int
    data: bytes

    def frames(self) -> Iterator[Frame]:
        """Its whole frames; a torn one at the end (the machine went down) is left out."""
        for kind, continues, time, start, end in headers(self.data):
            yield Frame(kind, self.data[start:end], time, continues)

    def output(self) -> Iterator[Frame]:
        """What is in it, in as few frames as keep the streams apart and in their order."""
        for kind, group in itertools.groupby(headers(self.data), key=itemgetter(0)):
            yield Frame(kind, b"".join([self.data[start:end] for *_, start, end in group]))


class _Segment:
    """One file of a log; ``size`` is what it holds in whole frames, and ``descriptor`` -1 while it is closed."""

    def __init__(self, directory: str, start: int) -> None:
        self.path = os.path.join(directory, f"{start:020}")
        self.start = start
        self.size = 0
        self.descriptor = -1
        self.is_kept = True

    @property
    def end(self) -> int:
        return self.start + self.size

    def open(self, flags: int = os.O_RDWR) -> None:
        if self.descriptor < 0:
            self.descriptor = os.open(self.path, flags | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def drop(self) -> None:
        """Take the name away; whoever has it open reads on."""
        self.is_kept = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def write(self, parts: list[bytes | memoryview]) -> bool:
        """All of it or, on a full disk, nothing."""
        try:
            written = os.writev(self.descriptor, parts)
        except OSError:
            return False
        if written < sum(map(len, parts)):
            os.ftruncate(self.descriptor, self.size)
            return False
        self.size += written
        return True


class LogWriter:
    """Appends output; ``end`` is where the next frame goes.

    *max_size*: bytes after which another segment is begun, None for one that grows for ever; *max_files*: how many of
    them are kept. A segment that a follower still reads stays open and readable; while followers are very far behind,
    no further segment is begun. Raises OSError where the log cannot be opened.
    """

    def __init__(self, path: str, max_size: int | None = None, max_files: int = 1) -> None:
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._unfinished: set[Kind] = set()
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._segments = [_Segment(path, start) for start in _starts(path)]
        for segment in self._segments[:-1]:
            segment.size = os.stat(segment.path).st_size
        if self._segments:
            self._reopen(self._segments[-1])
        else:
            self._begin(0)
        self._trim()

    def _reopen(self, segment: _Segment) -> None:
        segment.open()
        segment.size = _whole(segment.descriptor)
        os.ftruncate(segment.descriptor, segment.size)

    def _begin(self, start: int) -> None:
        segment = _Segment(self._path, start)
        segment.open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._segments.append(segment)

    def _trim(self) -> None:
        for segment in self._segments[: -self._max_files]:
            if segment.is_kept:
                segment.open()
                segment.drop()

    @property
    def end(self) -> int:
        return self._segments[-1].end

    def append(self, output: Frame) -> bytes:
        """One more piece of output; returns what of it could not be kept (on a full disk)."""
        rest = memoryview(output.payload)
        while rest and not (self._is_full() and not self._rotate()):
            kept = self._write(output.kind, rest, output.time)
            if not kept:
                break
            rest = rest[kept:]
        return bytes(rest)

    def _write(self, kind: Kind, data: memoryview, time: int) -> int:
        """One frame, as far as block and segment have room; returns how many bytes of output it holds."""
        segment = self._segments[-1]
        room = BLOCK - segment.size % BLOCK
        parts: list[bytes | memoryview] = []
        if room <= HEADER_SIZE:
            parts.append(bytes(room))
            room = BLOCK
        data = data[: min(room - HEADER_SIZE, self._share(data))]
        parts += (header(kind, len(data), time, kind in self._unfinished), data)
        if not segment.write(parts):
            return 0
        (self._unfinished.discard if data[-1] == _NEWLINE else self._unfinished.add)(kind)
        return len(data)

    def _share(self, data: memoryview) -> int:
        """How much goes into the segment: it is full with the end of a line."""
        if self._max_size is None or self._segments[-1].size + len(data) < self._max_size:
            return len(data)
        room = max(1, self._max_size - self._segments[-1].size)
        return bytes(data).find(b"\n", room - 1) + 1 or len(data)

    def _is_full(self) -> bool:
        return (
            self._max_size is not None
            and self._segments[-1].size >= self._max_size
            and len(self._segments) < self._max_files + _MOST_BEHIND
        )

    def _rotate(self) -> bool:
        try:
            self._begin(self.end)
        except OSError:
            return False
        self.finish_lines()
        self._trim()
        return True

    def finish_lines(self) -> None:
        """What comes next begins a line, whatever stands before it: another process writes, or in another segment."""
        self._unfinished.clear()

    def send(self, connection: int, offset: int) -> int:
        """Send some of what follows *offset* to a socket; returns where to go on. Raises BlockingIOError, OSError.

        What is not kept any more, or was cut off from outside, is passed over.
        """
        segment = next(segment for segment in self._segments if offset < segment.end)
        position = max(0, offset - segment.start)
        segment.open()
        count = min(_SEND_AT_ONCE, segment.size - position)
        sent = os.sendfile(connection, segment.descriptor, position, count)
        return segment.start + position + sent if sent else segment.end

    def retain(self, offsets: Iterable[int]) -> None:
        """Keep readable what these followers have still to read, and let the rest go."""
        if len(self._segments) == 1:
            return
        oldest = min(offsets, default=self.end)
        for segment in self._segments[:-1]:
            if segment.end <= oldest:
                segment.close()
            elif segment.is_kept:
                with contextlib.suppress(OSError):
                    segment.open()
        self._segments = [each for each in self._segments if each.is_kept or each.end > oldest]

    def close(self) -> None:
        for segment in self._segments:
            segment.close()


def _starts(path: str) -> list[int]:
    """Where the segments of a log begin; there are none before its first run."""
    try:
        return sorted(int(name) for name in os.listdir(path) if name.isdigit())
    except FileNotFoundError:
        return []


def _whole(descriptor: int) -> int:
    """How much of a segment's file is whole frames."""
    size = os.fstat(descriptor).st_size
    last = max(0, size - 1) // BLOCK * BLOCK
    data = os.pread(descriptor, BLOCK, last)
    return last + max((end for *_, end in headers(data)), default=0)


def end(path: str) -> int:
    """Where the log in the directory *path* ends."""
    for start in reversed(_starts(path)):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(path, f"{start:020}"), "rb") as file:
            return start + _whole(file.fileno())
    return 0


def blocks(path: str, start: int, stop: int) -> Iterator[Block]:
    """The log from *start*, where a frame begins, until *stop*, in pieces. What has been dropped is passed over."""
    while start < stop:
        block = _next_block(path, start, stop)
        if block is None:
            return
        yield block
        start = block.offset + len(block.data)


def _next_block(path: str, offset: int, stop: int) -> Block | None:
    """What follows *offset*, up to its block's end; the segment may be dropped at any moment."""
    starts = _starts(path)
    for begin in (*[each for each in starts if each <= offset][-1:], *[each for each in starts if each > offset]):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(path, f"{begin:020}"), "rb", 0) as file:
            position = max(0, offset - begin)
            size = min(BLOCK - position % BLOCK, stop - begin - position)
            if size > 0 and (data := os.pread(file.fileno(), size, position)):
                return Block(begin + position, data)
    return None


def blocks_backwards(path: str) -> Iterator[Block]:
    """All blocks of the log, the last first."""
    for start in reversed(_starts(path)):
        try:
            with open(os.path.join(path, f"{start:020}"), "rb", 0) as file:
                size = os.fstat(file.fileno()).st_size
                for position in reversed(range(0, size, BLOCK)):
                    yield Block(start + position, os.pread(file.fileno(), BLOCK, position))
        except FileNotFoundError:
            return
