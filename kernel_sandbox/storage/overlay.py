"""The form layers have on disk: overlayfs's, and the attributes for what cannot be made there.

Follows the kernel's Documentation/filesystems/overlayfs.rst (whiteouts, opaque directories, ``userxattr``) and
image-spec layer.md (the names that stand for them in an archive). What belongs here: names, and telling one thing
from another. What does not: making them (``unpack``) and reading them back (``pack``).
"""

import os
import stat

from kernel_sandbox.storage import ownership
from kernel_sandbox.storage.tar import Kind

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS_METADATA = b".wh..wh."  # what aufs kept for itself, in old images

OPAQUE_XATTR = "user.overlay.opaque"
OVERLAY_XATTRS = (b"user.overlay.", b"trusted.overlay.")

NODE_XATTR = "user.kernel_sandbox.node"  # of an empty file: the device it stands for
CAPABILITY_XATTR = "user.kernel_sandbox.capability"  # the value of security.capability
REMEMBERED_XATTRS = frozenset(
    name.encode() for name in (NODE_XATTR, CAPABILITY_XATTR, ownership.XATTR, ownership.INSIDE_XATTR)
)

MAX_MAJOR, MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1
_NODES = {b"c": Kind.CHARACTER, b"b": Kind.BLOCK}


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file hides what the layers below have by its name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int | str) -> bool:
    """Whether an open directory, or one at a trusted path, hides what the layers below have in it."""
    try:
        return os.getxattr(directory, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def encode_node(kind: Kind, major: int, minor: int) -> bytes:
    """Return the value of ``NODE_XATTR`` for a device."""
    return b"%s %d %d" % (b"c" if kind is Kind.CHARACTER else b"b", major, minor)


def decode_node(value: bytes) -> tuple[Kind, int, int] | None:
    """Return the kind, major and minor a ``NODE_XATTR`` stands for; ``None`` for none that makes sense.

    A container can write anything there, which makes a plain file of it and no error.
    """
    kind, _, numbers = value.partition(b" ")
    major, _, minor = numbers.partition(b" ")
    if kind not in _NODES or not (major.isdigit() and minor.isdigit() and len(numbers) < 20):
        return None
    if int(major) > MAX_MAJOR or int(minor) > MAX_MINOR:
        return None
    return _NODES[kind], int(major), int(minor)
