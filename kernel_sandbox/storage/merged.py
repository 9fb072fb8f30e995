"""Reading single files of a root filesystem from its layers, without mounting it.

The layers are directories in overlayfs form, topmost first. A path is followed the way the mounted filesystem
would follow it: name by name through the layers, over symbolic links, never above the root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from kernel_sandbox.storage.overlay import is_opaque, is_whiteout

_MAX_LINKS = 40


def read_file(layers: Sequence[str], path: str, limit: int) -> bytes:
    """Up to *limit* bytes of the regular file at *path*; empty where there is none or it may not be read."""
    pending = [part for part in reversed(path.split("/")) if part]
    trail: list[tuple[str, ...]] = []
    here = tuple(layers)
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = trail.pop() if trail else here
            continue
        found = _look_up(here, name)
        if not found:
            return b""
        mode = os.lstat(found[0]).st_mode
        if stat.S_ISLNK(mode):
            links += 1
            target = os.readlink(found[0])
            if links > _MAX_LINKS:
                return b""
            if target.startswith("/"):
                here, trail = tuple(layers), []
            pending.extend(reversed(target.split("/")))
        elif stat.S_ISDIR(mode):
            trail.append(here)
            here = found
        else:
            return _read_regular(found[0], limit) if not pending else b""
    return b""


def _look_up(directories: Sequence[str], name: str) -> tuple[str, ...]:
    """What *name* is in the merged directory: one path, or several for a directory that layers share."""
    found: list[str] = []
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        if is_whiteout(status):
            break
        if not stat.S_ISDIR(status.st_mode):
            return tuple(found) or (path,)
        found.append(path)
        if is_opaque(path):
            break
    return tuple(found)


def _read_regular(path: str, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
