"""Extended attributes of a tree's files: which of them an archive keeps, and as what.

What does not belong here: setting them (``making``), how an archive writes them (``tar_writing``).
"""

import os
import struct
from contextlib import suppress

from kernel_sandbox.storage.overlay import CAPABILITY_XATTR, OVERLAY_XATTRS, REMEMBERED_XATTRS

_LOCAL_XATTRS = frozenset((b"security.selinux", b"security.ima", b"security.evm"))  # mean something on this host only
_CAPABILITY = b"security.capability"
_CAPABILITY_V2, _CAPABILITY_V3 = 0x02000000, 0x03000000


def read(file: int | bytes, follow: bool = False) -> dict[bytes, bytes]:
    """All attributes of an open file, or of one that must not be opened; none where there cannot be any."""
    follow = follow or isinstance(file, int)
    found: dict[bytes, bytes] = {}
    with suppress(OSError):
        for name in os.listxattr(file, follow_symlinks=follow):
            with suppress(OSError):
                found[os.fsencode(name)] = os.getxattr(file, name, follow_symlinks=follow)
    return found


def archived(xattrs: dict[bytes, bytes], single: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The attributes an archive keeps: not overlayfs's, not our own, not this host's labels.

    Remembered capabilities are believed where there is a *single* id: elsewhere a container's ordinary user may have
    remembered them for a program of its own.
    """
    if not xattrs:
        return ()
    kept = {
        name: value
        for name, value in xattrs.items()
        if not name.startswith(OVERLAY_XATTRS) and name not in REMEMBERED_XATTRS and name not in _LOCAL_XATTRS
    }
    remembered = xattrs.get(CAPABILITY_XATTR.encode()) if single else None
    capability = kept.get(_CAPABILITY, remembered)
    if capability is not None:
        kept[_CAPABILITY] = portable_capability(capability)
    return tuple(sorted(kept.items()))


def portable_capability(value: bytes) -> bytes:
    """File capabilities without the user namespace they were set in (capabilities(7), version 3 to version 2)."""
    if len(value) != 24:
        return value
    (magic,) = struct.unpack_from("<I", value)
    if magic & 0xFF000000 != _CAPABILITY_V3:
        return value
    return struct.pack("<I", magic & 0x00FFFFFF | _CAPABILITY_V2) + value[4:20]
