"""Writing files with holes into an archive: GNU tar's pax format 1.0.

Follows GNU tar's manual, "Storing Sparse Files". ``tar`` reads it, and the older formats too.
"""

from __future__ import annotations

import errno
import os

from msgspec.structs import replace

from kernel_sandbox.storage import tar

_MAX_SEGMENTS = 1 << 12


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
    return tar.header(replace(entry, name=name, size=stored), extensions) + map_
