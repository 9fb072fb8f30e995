"""Reading single files of a root filesystem from its layers, without mounting it.

The layers are directories in overlayfs form, topmost first. A path is followed the way the mounted filesystem
would follow it: name by name through the layers, over symbolic links, never above the root. A running container may
exchange any name for another meanwhile, so each is opened beneath its layer, over no link (openat2(2)), and asked by
its descriptor what it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kernel_sandbox.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from kernel_sandbox.storage.overlay import is_opaque, is_whiteout
from kernel_sandbox.storage.tree import opened, unless_gone

_MAX_LINKS = 40
_ANY = os.O_PATH | os.O_NOFOLLOW
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


class _Directory(NamedTuple):
    """One of the merged tree: its path, without links, and the layers that have a part in it."""

    path: str
    layers: tuple[str, ...]


def read_file(layers: Sequence[str], path: str, limit: int) -> bytes:
    """Up to *limit* bytes of the regular file at *path*; empty where there is none or it may not be read."""
    root = _Directory(".", tuple(layers))
    trail = [root]
    pending = path.split("/")[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            trail = trail[:-1] or [root]
            continue
        with _found(trail[-1], name) as (descriptor, having):
            mode = os.fstat(descriptor).st_mode if having else 0
            if stat.S_ISDIR(mode):
                trail.append(_Directory(f"{trail[-1].path}/{name}", having))
            elif stat.S_ISLNK(mode) and links < _MAX_LINKS:
                links += 1
                target = os.readlink("", dir_fd=descriptor)
                trail = [root] if target.startswith("/") else trail
                pending.extend(target.split("/")[::-1])
            else:
                return _read_regular(descriptor, limit) if stat.S_ISREG(mode) and not pending else b""
    return b""


@contextlib.contextmanager
def _found(directory: _Directory, name: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """A descriptor of what *name* is in the merged directory, and the layers that have it.

    Several have a directory that they share, none what is not there.
    """
    path = f"{directory.path}/{name}"
    having: list[str] = []
    descriptors: list[int] = []
    with contextlib.ExitStack() as stack:
        for layer in directory.layers:
            with contextlib.suppress(PermissionError), unless_gone(), opened(layer) as top:
                descriptor = openat2(top, path, _ANY, resolve=_BENEATH)
                stack.callback(os.close, descriptor)
                status = os.fstat(descriptor)
                is_directory = stat.S_ISDIR(status.st_mode)
                if is_whiteout(status) or (having and not is_directory):
                    break
                having.append(layer)
                descriptors.append(descriptor)
                if not is_directory or is_opaque(f"/proc/self/fd/{descriptor}"):
                    break
        yield descriptors[0] if descriptors else -1, tuple(having)


def _read_regular(descriptor: int, limit: int) -> bytes:
    try:
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return file.read(limit)
    except PermissionError:
        return b""
