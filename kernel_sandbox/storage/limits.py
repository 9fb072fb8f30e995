"""What an archive may hold: how much of everything, and which names, owners, times and attributes.

What does not belong here: the format and its own caps (``tar``), the files that become of it (``making``).
"""

import msgspec

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.overlay import OVERLAY_XATTRS
from kernel_sandbox.storage.tar import SECOND, Entry, shown

_NO_ID = 0xFFFFFFFF
_MAX_TIME = (1 << 40) * SECOND
_MAX_XATTR_NAME, _MAX_XATTR = 255, 1 << 16  # bytes, on any file system (xattr(7))


class Limits(msgspec.Struct, frozen=True):
    """What one layer may hold at most: entries, directories that no entry names but that paths imply, bytes of all
    files together, and for each entry bytes of its path (with the final NUL, as PATH_MAX counts) and bytes of all its
    extended attributes."""

    entries: int = 500_000
    implied: int = 50_000
    bytes: int = 64 << 30
    path: int = 4096
    xattrs: int = 1 << 20


def parts_of(name: bytes, what: str, limits: Limits) -> tuple[bytes, ...]:
    """Split an archived name into components. Raises CorruptContent for what could mean a place outside the root."""
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if not name or name.startswith(b"/") or b".." in parts or b"\0" in name:
        raise CorruptContent(f"the archive has a {what} that leads out of its root: {shown(name)}")
    if len(name) >= limits.path and len(b"/".join(parts)) >= limits.path:
        raise CorruptContent(f"the archive has a {what} of {len(name)} bytes, which is too long: {shown(name)}")
    return parts


def check(entry: Entry, limits: Limits) -> None:
    """Raises CorruptContent for an owner, a time or attributes that no file can have, or may have here."""
    if entry.uid >= _NO_ID or entry.gid >= _NO_ID or abs(entry.mtime) > _MAX_TIME:
        raise CorruptContent(f"archive entry {shown(entry.name)} has an impossible owner or time")
    if sum(len(name) + len(value) for name, value in entry.xattrs) > limits.xattrs:
        raise CorruptContent(f"archive entry {shown(entry.name)} has too large extended attributes")
    for name, value in entry.xattrs:
        if len(name) > _MAX_XATTR_NAME or len(value) > _MAX_XATTR:
            raise CorruptContent(f"archive entry {shown(entry.name)} has a too large extended attribute")
        if not name or b"\0" in name or name.startswith(OVERLAY_XATTRS):
            raise CorruptContent(f"archive entry {shown(entry.name)} sets the attribute {shown(name)}")
