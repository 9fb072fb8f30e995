"""Compressed streams of image layers and archives.

Recognises gzip (RFC 1952), bzip2, xz and zstd (RFC 8878) by their first bytes and reads them in bounded
memory; writes gzip whose bytes depend on nothing but the content. What does not belong here: tar, files, digests.
"""

import io
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self, cast

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.tar import CHUNK, Sink

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

igzip_lib: Any
isal_zlib: Any
try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # no wheel for this processor
    igzip_lib = isal_zlib = None

_OUTPUT = 1 << 18
_MEMORY = 1 << 28  # what an xz stream may ask for
_WINDOW = 1 << 27  # the largest zstd window that decoders are asked to accept
_BOMB_SIZE = 1 << 30  # bytes that any stream, or any image, may hold
_BOMB_RATIO = 200  # how many times its own size one that holds more may hold
_FILLED_RATIO = 180  # how many times its own size a long stream of ours holds at most
_EMPTY_BLOCK = b"\0\0\0\xff\xff"  # deflate's, of no bytes (RFC 1951, 3.2.4)
_GZIP = 31  # zlib's window bits for gzip framing


class _Decompressor(Protocol):
    """The interface that bz2, lzma and isal share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Unbounded:
    """A decompressor that cannot bound its output: it must be given small pieces."""

    needs_input = True

    def __init__(self, inner: "zlib._Decompress") -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(data)


class _Format(NamedTuple):
    name: str
    magics: tuple[bytes, ...]
    piece: int  # compressed bytes given at a time
    start: Callable[[], tuple[_Decompressor, type[Exception]]]  # and what it raises for damaged input


def _gzip() -> tuple[_Decompressor, type[Exception]]:
    if igzip_lib is None:
        return _Unbounded(zlib.decompressobj(_GZIP)), zlib.error
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), igzip_lib.IsalError


def _bzip2() -> tuple[_Decompressor, type[Exception]]:
    import bz2

    return bz2.BZ2Decompressor(), OSError


def _xz() -> tuple[_Decompressor, type[Exception]]:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), lzma.LZMAError


def _zstd() -> tuple[_Decompressor, type[Exception]]:
    import zstandard  # slow to import, and few layers need it

    # Its own stream reader takes a stream that is cut short for a whole one.
    stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    return _Unbounded(cast("zlib._Decompress", stream)), zstandard.ZstdError


_SKIPPABLE = tuple(bytes((first,)) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))  # frames that pzstd begins with
_FORMATS = (
    _Format("gzip", (b"\x1f\x8b\x08",), 1 << 14, _gzip),
    _Format("bzip2", (b"BZh",), 1 << 16, _bzip2),
    _Format("xz", (b"\xfd7zXZ\0",), 1 << 16, _xz),
    _Format("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), 1 << 9, _zstd),
)


class _Decompressed(io.RawIOBase):
    """The content of a compressed stream; members or frames that follow each other are one content."""

    def __init__(self, raw: BinaryIO, format: _Format, is_trusted: bool) -> None:
        self._raw = raw
        self._format = format
        self._is_trusted = is_trusted
        self._taken = self._given = 0  # bytes compressed and not
        self._decompressor, self._error = format.start()
        self._input = b""  # read, and given to no decompressor yet
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        while not self._ready:
            if self._decompressor.eof and not self._next_member():
                return 0
            self._ready = memoryview(self._decompress())
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:] or memoryview(b"")  # an empty view, too, would keep what it is a view of
        return count

    def _next_member(self) -> bool:
        """Start on the next member, if there is one; zeros that fill up a block are none."""
        rest = self._input or self._raw.read(self._format.piece)
        while rest and not rest.strip(b"\0"):
            rest = self._raw.read(self._format.piece)
        self._input = rest
        if rest:
            self._decompressor, self._error = self._format.start()
        return bool(rest)

    def _decompress(self) -> bytes:
        if self._decompressor.needs_input and not self._input:
            self._input = self._raw.read(self._format.piece)
            if not self._input:
                raise CorruptContent(f"the {self._format.name} stream is cut short: fetch it again")
        data, self._input = self._input, b""
        try:
            content = self._decompressor.decompress(data, _OUTPUT)
        except self._error as error:
            raise CorruptContent(f"the {self._format.name} stream is damaged ({error}): fetch it again") from error
        if self._decompressor.eof:
            self._input = self._decompressor.unused_data
        self._taken += len(data) - len(self._input)
        self._given += len(content)
        if not self._is_trusted:
            check_bulk(f"the {self._format.name} stream", self._given, self._taken)
        return content


def check_bulk(what: str, held: int, stored: int) -> None:
    """Raises CorruptContent where *what* holds so many bytes in those that are stored that it can only be a bomb."""
    if held > max(_BOMB_SIZE, _BOMB_RATIO * stored):
        raise CorruptContent(
            f"{what} holds more than {_BOMB_SIZE >> 30} GiB, and {_BOMB_RATIO} times its own size: it is made to fill "
            "a disk"
        )


def open_compressed(raw: BinaryIO, is_trusted: bool = False) -> io.BufferedReader:
    """Return a stream of the uncompressed bytes of ``raw``, told by its content; plain content passes.

    ``raw`` need not be seekable, is read to its end when the result is, and stays the caller's to close.
    Reading raises ``CorruptContent`` when the compressed stream is damaged or cut short, and unless it ``is_trusted``
    when it holds so much more than its own size that it can only be a decompression bomb.
    """
    buffered: io.BufferedReader = io.BufferedReader(_Unowned(raw), _OUTPUT)
    start = buffered.peek(8)
    for format in _FORMATS:
        if start.startswith(format.magics):
            return io.BufferedReader(_Decompressed(buffered, format, is_trusted), _OUTPUT)
    return buffered


def import_decompressors() -> None:
    """Import what any format takes, which is otherwise done when one is met."""
    for format in _FORMATS:
        format.start()


class _Unowned(io.RawIOBase):
    """A caller's stream under a buffer whose end must not close it; only its first bytes are put together."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._start = b""
        while len(self._start) < 8 and (data := raw.read(8 - len(self._start))):
            self._start += data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        data = self._start or self._raw.read(len(target))
        self._start = b""
        target[: len(data)] = data
        return len(data)


class GzipWriter:
    """A gzip stream on ``out``: level 1, no name, no time, so that the same content gives the same bytes.

    isal's output depends on how much it is given at once, so that is always as much. Gigabytes of zeros are filled up
    with empty blocks, lest the stream be taken for a decompression bomb.
    """

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._compressor = (isal_zlib or zlib).compressobj(1, zlib.DEFLATED, _GZIP)
        self._parts: list[bytes] = []
        self._room = CHUNK
        self._taken = self._given = 0  # bytes not compressed, and compressed

    def write(self, data: bytes, /) -> int:
        """Compress ``data``; returns its length, as files do."""
        left = data
        while left:
            part, left = left[: self._room], left[self._room :]
            self._parts.append(part)
            self._room -= len(part)
            if not self._room:
                self._compress()
        return len(data)

    def _compress(self) -> None:
        content = b"".join(self._parts)
        self._parts.clear()
        self._room = CHUNK
        self._taken += len(content)
        self._give(self._compressor.compress(content))
        missing = self._taken // _FILLED_RATIO - self._given
        if missing > 0 and self._taken > _BOMB_SIZE >> 5:
            self._give(self._compressor.flush(zlib.Z_SYNC_FLUSH))  # up to a byte's end, where a block may begin
            self._give(_EMPTY_BLOCK * (missing // len(_EMPTY_BLOCK)))

    def _give(self, compressed: bytes) -> None:
        if compressed:
            self._given += len(compressed)
            self._out.write(compressed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._compress()
            self._give(self._compressor.flush())


def gzip_writer(out: Sink) -> GzipWriter:
    """Return a deterministic gzip writer on ``out``, to be used as a context manager; ``out`` stays open."""
    return GzipWriter(out)
