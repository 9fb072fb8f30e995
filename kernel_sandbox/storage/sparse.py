"""Files with holes: written into an archive in GNU tar's pax format 1.0, and made where an archive has zeros.

Follows GNU tar's manual, "Storing Sparse Files". ``tar`` reads it, and the older formats too.
"""

from __future__ import annotations

import errno
import os

from msgspec.structs import replace

from kernel_sandbox.storage import tar, tar_writing

HOLE = 16 << 10
"""Bytes of zeros that become a hole, where they begin at a multiple of as many."""
_MAX_SEGMENTS = 1 << 12
_ZEROS = bytes(tar.CHUNK)
_ZEROS_OF_HOLE = bytes(HOLE)


def segments(fd: int, size: int) -> tuple[tuple[int, int], ...]:
    """The (offset, length) pieces of the first *size* bytes of an open file that hold data (lseek(2), SEEK_DATA).

    A file in very many pieces is cut into fewer, which then have holes in them.
    """
    found: list[tuple[int, int]] = []
    end = 0
    while end < size and len(found) < _MAX_SEGMENTS:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return tuple(found)
            raise
        if start < size:
            found.append((start, end - start))
    if end < size:
        start, _ = found[-1]
        found[-1] = (start, size - start)
    return tuple(found)


def header(entry: tar.Entry, pieces: tuple[tuple[int, int], ...]) -> bytes:
    """The header of a regular file of which only *pieces* follow, with their map.

    A piece of no bytes at the end tells GNU tar how far the last hole goes.
    """
    mapped = (*pieces, (entry.size, 0))
    numbers = (len(mapped), *(number for piece in mapped for number in piece))
    map_ = b"".join(b"%d\n" % number for number in numbers)
    map_ += bytes(-len(map_) % tar.BLOCK)
    extensions = (
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", entry.name),
        (b"GNU.sparse.realsize", b"%d" % entry.size),
    )
    stored = len(map_) + sum(length for _, length in pieces)
    name = b"GNUSparseFile.0/" + os.path.basename(entry.name)
    return tar_writing.header(replace(entry, name=name, size=stored), extensions) + map_


def write(fd: int, data: bytes) -> None:
    """Write at an open file's position, with holes for long runs of zeros. One at the end takes ftruncate(2), too."""
    if data == _ZEROS:
        os.lseek(fd, len(data), os.SEEK_CUR)
        return
    written = 0
    for start in range(0, len(data), HOLE):
        if data.startswith(_ZEROS_OF_HOLE, start):
            _write(fd, data[written:start])
            os.lseek(fd, HOLE, os.SEEK_CUR)
            written = start + HOLE
    _write(fd, data[written:])


def _write(fd: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
