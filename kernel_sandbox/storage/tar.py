"""The tar format: bytes to ``Entry`` values; ``tar_writing`` is the way back.

Follows pax (POSIX.1-2017, ``pax``, "pax Interchange Format" and "ustar Interchange Format") and GNU tar's manual
for what else is met: long names, base-256 numbers, sparse files (old format and pax 0.0, 0.1, 1.0). Extended
attributes are ``SCHILY.xattr.*`` records, as image-spec layer.md asks.

What belongs here: the format alone, with the caps that keep a hostile archive from filling memory. What does
not: files, directories, whiteouts; they are in ``unpack`` and ``pack``.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import NoReturn, Protocol

import msgspec

from kernel_sandbox.errors import CorruptContent

BLOCK = 512
END = bytes(2 * BLOCK)
CHUNK = 1 << 20
SECOND = 1_000_000_000

_MAX_EXTENSION = 1 << 20  # bytes in one extended header or long name
_MAX_EXTENSIONS = 16  # such headers before one entry
_MAX_SEGMENTS = 1 << 16  # data segments of one sparse file
_MAX_FILLING = 64 << 20  # bytes after the last entry
_MAX_NUMBER = 1 << 63
_MAX_DIGITS = 20
XATTR = b"SCHILY.xattr."
"""How the key of an attribute's record begins."""


class Source(Protocol):
    """Where an archive is read from; a short read is not yet the end, an empty one is."""

    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes, /) -> object: ...


class Kind(enum.Enum):
    """What an entry makes; the value is ustar's typeflag."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_KINDS: Mapping[bytes, Kind] = {
    **{kind.value: kind for kind in Kind},
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"D": Kind.DIRECTORY,
}


class Entry(msgspec.Struct, frozen=True):
    """One member of an archive.

    ``name`` and ``link`` (the target of a link) are bytes exactly as archived. ``mtime`` is in nanoseconds
    since the epoch, ``size`` in bytes as the file is restored. ``segments`` are the (offset, length) pieces of
    a sparse file that the archive holds, ``None`` for a file held whole.
    """

    name: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    segments: tuple[tuple[int, int], ...] | None = None


def shown(name: bytes) -> str:
    """Return a name as it may stand in a one-line message: escaped, and cut when it is long."""
    text = ascii(name.decode("utf-8", "surrogateescape"))
    return text if len(text) <= 160 else f"{text[:120]}...{text[-30:]}"


class TarReader:
    """Iterates over the entries of an uncompressed archive, in one pass and in bounded memory.

    The content of the entry just yielded is taken with ``read``; what is not taken is skipped. Raises
    ``CorruptContent`` for anything that breaks the format.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0  # content bytes of the current entry not read yet
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        while True:
            entry = self._next()
            if entry is None:
                return
            yield entry

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the current entry's content, and nothing at its end."""
        size = min(size, self._left)
        if not size:
            return b""
        data = self._source.read(size)
        if not data:
            raise CorruptContent("the archive is cut short: fetch it again")
        self._left -= len(data)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) == size or not data:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and (data := self._source.read(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _content(self, size: int) -> bytes:
        """Read a piece of the format itself that is kept as an entry's content."""
        data = self._exactly(size)
        if len(data) != size:
            raise CorruptContent("the archive is cut short: fetch it again")
        return data

    def _skip(self) -> None:
        while self._left:
            self.read(CHUNK)
        if self._padding:
            self._content(self._padding)
            self._padding = 0

    def _block(self) -> bytes | None:
        """Return the next header, or ``None`` at the end of the archive."""
        self._skip()
        block = self._exactly(BLOCK)
        if not block or (block == END[:BLOCK] and self._exactly(BLOCK) in (b"", END[:BLOCK])):
            return None
        if len(block) != BLOCK:
            raise CorruptContent("the archive is cut short: fetch it again")
        _verify_checksum(block)
        return block

    def _next(self) -> Entry | None:
        """The next entry with what its extended headers say. Where these are several, Go's reader decides, as for
        Docker: the last one counts, a long name of GNU's before it, and what is said of all entries of none."""
        records: dict[bytes, bytes] = {}
        long: dict[bytes, bytes] = {}
        sparse_map: list[bytes] = []
        extensions = 0
        while (block := self._block()) is not None:
            flag = block[156:157]
            if flag not in b"xgLKV":
                return self._entry(block, {**records, **long}, sparse_map)
            extensions += 1
            data = self._extension(block, extensions)
            if flag == b"x":
                sparse_map = []
                records = _pax_records(data, sparse_map)
            elif flag == b"g":
                records, long, sparse_map = {}, {}, []
            elif flag == b"L":
                long[b"path"] = data.split(b"\0", 1)[0]
            elif flag == b"K":
                long[b"linkpath"] = data.split(b"\0", 1)[0]
        if records or long:
            raise CorruptContent("the archive ends after an extended header, without its entry")
        return None

    def _extension(self, block: bytes, count: int) -> bytes:
        size = _number(block[124:136], "size")
        if size > _MAX_EXTENSION or count > _MAX_EXTENSIONS:
            raise CorruptContent("the archive has an unreasonably large extended header")
        return self._content(size + -size % BLOCK)[:size]

    def _entry(self, block: bytes, records: Mapping[bytes, bytes], sparse_map: list[bytes]) -> Entry:
        name = records.get(b"path") or _ustar_name(block)
        flag = block[156:157]
        kind = _KINDS.get(flag)
        if kind is None:
            raise CorruptContent(f"archive entry {shown(name)} has the unknown type {flag!r}")
        if flag == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # how the oldest archives write one
        stored = _decimal(records, b"size", block[124:136])
        size, segments = stored, None
        if kind is not Kind.FILE and flag not in (b"D", b"\0"):
            stored = size = 0  # a size here describes the target of a link, not content
        self._left, self._padding = stored, -stored % BLOCK
        if flag == b"S":
            size, segments = _number(block[483:495], "size"), self._old_sparse(block)
        elif b"GNU.sparse.major" in records or b"GNU.sparse.size" in records:
            name = records.get(b"GNU.sparse.name", name)
            size = _integer(records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size", b""), name)
            segments = self._pax_sparse(records, sparse_map, name)
        if segments is not None:
            _verify_segments(segments, size, self._left, name)
        link = records.get(b"linkpath") or block[157:257].split(b"\0", 1)[0]
        if b"\0" in name or b"\0" in link:
            raise CorruptContent(f"archive entry {shown(name)} has a name with a zero byte")
        device = kind is Kind.CHARACTER or kind is Kind.BLOCK
        return Entry(
            name=name,
            kind=kind,
            mode=_number(block[100:108], "mode") & 0o7777,
            uid=_decimal(records, b"uid", block[108:116]),
            gid=_decimal(records, b"gid", block[116:124]),
            mtime=_time(records[b"mtime"]) if records.get(b"mtime") else _signed(block[136:148]) * SECOND,
            size=size,
            link=link,
            major=_number(block[329:337], "device number") if device else 0,
            minor=_number(block[337:345], "device number") if device else 0,
            xattrs=tuple((_attribute(key), value) for key, value in records.items() if key.startswith(XATTR)),
            segments=segments,
        )

    def _old_sparse(self, block: bytes) -> tuple[tuple[int, int], ...]:
        """The map of GNU's old format: four segments in the header, 21 in each block that follows it."""
        fields, more = block[386:482], block[482]
        while more:
            extra = self._content(BLOCK)
            fields += extra[:504]
            more = extra[504]
            if len(fields) > 24 * _MAX_SEGMENTS:
                raise CorruptContent("the archive has a sparse file of unreasonably many segments")
        pieces = (fields[i : i + 24] for i in range(0, len(fields), 24))
        return tuple((_number(p[:12], "offset"), _number(p[12:], "size")) for p in pieces if p[0])

    def _pax_sparse(
        self, records: Mapping[bytes, bytes], sparse_map: list[bytes], name: bytes
    ) -> tuple[tuple[int, int], ...]:
        if records.get(b"GNU.sparse.major") == b"1":
            numbers = self._leading_map(name)
        else:
            numbers = [_integer(n, name) for n in sparse_map]
            if b"GNU.sparse.map" in records:
                numbers = [_integer(n, name) for n in records[b"GNU.sparse.map"].split(b",") if n]
        if len(numbers) % 2:
            raise CorruptContent(f"archive entry {shown(name)} has a broken sparse map")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def _leading_map(self, name: bytes) -> list[int]:
        """The map of pax format 1.0: decimal lines before the content, filled up to a block."""
        text = b""
        lines: list[bytes] = []
        wanted = 1
        while len(lines) < wanted:
            if self._left < BLOCK or wanted > 2 * _MAX_SEGMENTS or len(text) > _MAX_DIGITS:
                raise CorruptContent(f"archive entry {shown(name)} has a broken sparse map")
            text += self._content(BLOCK)
            self._left -= BLOCK
            *whole, text = text.split(b"\n")
            lines += whole
            if lines:
                wanted = 1 + 2 * _integer(lines[0], name)
        return [_integer(line, name) for line in lines[1:wanted]]


def read_rest(archive: Source) -> None:
    """Read what fills an archive up to its end. Raises CorruptContent where that is more than anybody writes."""
    left = _MAX_FILLING
    while data := archive.read(CHUNK):
        left -= len(data)
        if left < 0:
            raise CorruptContent("the archive goes on after its end")


def _attribute(key: bytes) -> bytes:
    return key[len(XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")


def _verify_checksum(block: bytes) -> None:
    """Raises CorruptContent. Some writers of old add up signed bytes, which makes a difference beyond ASCII."""
    total = sum(block) - sum(block[148:156]) + 8 * 32
    field = block[148:156].strip(b"\0 ")
    try:
        stated = int(field or b"x", 8)
        if stated == total or stated == total - 256 * sum(byte > 127 for byte in block):
            return
    except ValueError:
        pass
    raise CorruptContent("this is not a tar archive, or it is damaged: a header's checksum is wrong")


def _verify_segments(segments: tuple[tuple[int, int], ...], size: int, stored: int, name: bytes) -> None:
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > size:
            raise CorruptContent(f"archive entry {shown(name)} has a broken sparse map")
        end = offset + length
    if sum(length for _, length in segments) > stored or len(segments) > _MAX_SEGMENTS:
        raise CorruptContent(f"archive entry {shown(name)} has a broken sparse map")


def _pax_records(data: bytes, sparse_map: list[bytes]) -> dict[bytes, bytes]:
    """Read extended header records; a sparse map of format 0.0, whose keys repeat, goes to ``sparse_map``."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            _bad_record()
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or end > len(data) or data[end - 1 : end] != b"\n":
            _bad_record()
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse_map.append(value)
        records[key] = value
        position = end
    return records


def _bad_record() -> NoReturn:
    raise CorruptContent("the archive has a broken pax record")


def _ustar_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        return block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _signed(field: bytes) -> int:
    """A numeric field: octal digits, or GNU's base-256 with the top bit set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise CorruptContent("the archive has a header with a broken number")
    try:
        return int(digits, 8)
    except ValueError:
        raise CorruptContent("the archive has a header with a broken number") from None


def _number(field: bytes, what: str) -> int:
    value = _signed(field)
    if not 0 <= value < _MAX_NUMBER:
        raise CorruptContent(f"the archive has a header with an impossible {what}")
    return value


def _integer(text: bytes, name: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DIGITS or int(text) >= _MAX_NUMBER:
        raise CorruptContent(f"archive entry {shown(name)} has a broken number in its extended header")
    return int(text)


def _decimal(records: Mapping[bytes, bytes], key: bytes, field: bytes) -> int:
    """A number of the extended header, or of the ustar field when the header has none."""
    value = records.get(key)
    return _integer(value, key) if value else _number(field, key.decode())


def _time(text: bytes) -> int:
    """A pax time, decimal seconds with any number of digits after the point, in nanoseconds."""
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    if not (whole + fraction).isdigit() or len(whole) > 18:
        raise CorruptContent("the archive has an extended header with a broken time")
    value = int(whole or b"0") * SECOND + int(fraction[:9].ljust(9, b"0"))
    return -value if text.startswith(b"-") else value
