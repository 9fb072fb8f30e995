"""The tar format: an ``Entry`` as the bytes that stand before its content, always the same.

pax headers (POSIX.1-2017, ``pax``), and those only where ustar cannot hold what is to be said. What does not belong
here: reading (``tar``), files, directories, whiteouts (``pack``).
"""

from collections.abc import Iterable

from kernel_sandbox.storage.tar import BLOCK, SECOND, XATTR, Entry


def header(entry: Entry, extensions: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return an entry's header: ustar, with a pax extended header before it for what ustar cannot hold.

    ``extensions`` are further records of the extended header. The same entry gives the same bytes. User and group
    names are left empty: numbers alone have a meaning in another root.
    """
    records = [*extensions, *((_attribute_key(name), value) for name, value in entry.xattrs)]
    name, link, size, uid, gid = entry.name, entry.link, entry.size, entry.uid, entry.gid
    seconds, fraction = divmod(entry.mtime, SECOND)
    if len(name) > 100:
        records.append((b"path", name))
    if len(link) > 100:
        records.append((b"linkpath", link))
    if fraction or not 0 <= seconds < 1 << 33:
        records.append((b"mtime", _decimal_time(entry.mtime)))
        seconds = min(max(seconds, 0), (1 << 33) - 1)
    if size >= 1 << 33:
        records.append((b"size", b"%d" % size))
        size = 0
    if uid >= 1 << 21:
        records.append((b"uid", b"%d" % uid))
        uid = 0
    if gid >= 1 << 21:
        records.append((b"gid", b"%d" % gid))
        gid = 0
    main = _ustar(name, entry.kind.value, entry.mode, uid, gid, size, seconds, link, entry.major, entry.minor)
    if not records:
        return main
    data = b"".join(_record(key, value) for key, value in sorted(records))
    extended = _ustar(b"PaxHeaders.0/" + name.rstrip(b"/").rsplit(b"/", 1)[-1], b"x", 0o644, 0, 0, len(data), 0)
    return b"".join((extended, data, bytes(-len(data) % BLOCK), main))


def _ustar(
    name: bytes, flag: bytes, mode: int, uid: int, gid: int, size: int, mtime: int,
    link: bytes = b"", major: int = 0, minor: int = 0,
) -> bytes:  # fmt: skip
    fields = b"%-100s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%s" % (
        b"", mode, uid, gid, size, mtime, flag, link[:100].ljust(100, b"\0")
    )  # fmt: skip
    tail = b"ustar\00000" + bytes(64) + b"%07o\0%07o\0" % (major, minor) + bytes(167)
    block = name[:100].ljust(100, b"\0") + fields[100:] + tail
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])


def _record(key: bytes, value: bytes) -> bytes:
    """One ``LENGTH KEY=VALUE`` record, whose length counts its own digits."""
    body = len(key) + len(value) + 3
    length = body + len(str(body))
    length = body + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _attribute_key(name: bytes) -> bytes:
    """The key of an attribute's record. A key ends at its first ``=``: one in the name is written as GNU tar does."""
    for written in (b"%25", b"%3D"):
        name = name.replace(written, b"%25" + written[1:])
    return XATTR + name.replace(b"=", b"%3D")


def _decimal_time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), SECOND)
    return sign + (b"%d.%09d" % (seconds, fraction)).rstrip(b"0").rstrip(b".")
