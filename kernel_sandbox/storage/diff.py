"""What an overlay's upper directory changes: Docker's ``A``, ``C`` and ``D``.

The layers are directories in overlayfs form, topmost first, as in ``pack``. A directory is changed when its mode or
owner is, or when something in it is; another time alone changes files but no directory, as in Docker. What does not
belong here: archives, mounts.

A running container may change the upper directory meanwhile: what vanishes while it is read is left out.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import msgspec

from kernel_sandbox.storage.overlay import CAPABILITY_XATTR, is_opaque, is_whiteout
from kernel_sandbox.storage.tree import opened, opened_beneath, unless_gone

_SECOND = 1_000_000_000
_CAPABILITY_XATTRS = ("security.capability", CAPABILITY_XATTR)


class ChangeKind(enum.StrEnum):
    """What has happened to a path, by the letter that ``diff`` shows."""

    MODIFIED = "C"
    ADDED = "A"
    DELETED = "D"


class Change(msgspec.Struct, frozen=True):
    """One changed path, absolute inside the container."""

    kind: ChangeKind
    path: bytes


class _Directory(msgspec.Struct, frozen=True):
    """A directory of the upper one still to be read; ``layers`` have a part in what it was before, topmost first."""

    path: bytes
    layers: tuple[int, ...]


class _Found(msgspec.Struct, frozen=True):
    """What the layers have by one name: its status, its attributes, and the layers that share the directory."""

    status: os.stat_result
    capability: bytes
    layers: tuple[int, ...]


def changes(upper: str, layers: Sequence[str]) -> tuple[Change, ...]:
    """Every change, a directory before what is in it, names in the order of their bytes."""
    with ExitStack() as stack:
        roots = tuple(stack.enter_context(opened(layer)) for layer in layers)
        walk = _Walk(stack.enter_context(opened(upper)), roots)
        return _without_unchanged(walk.run())


class _Walk:
    """One walk over the upper directory. A directory that may have changed only by its content is listed first."""

    def __init__(self, upper: int, roots: tuple[int, ...]) -> None:
        self._upper = upper
        self._roots = roots
        self._maybe: set[bytes] = set()

    def run(self) -> tuple[list[Change], set[bytes]]:
        """All changes, and the paths of those that are none unless something in them is one."""
        found: list[Change] = []
        pending: list[_Directory | Change] = [_Directory(b"", tuple(range(len(self._roots))))]
        while pending:
            each = pending.pop()
            if isinstance(each, Change):
                found.append(each)
                continue
            with unless_gone():
                pending += reversed(list(self._inside(each)))
        return found, self._maybe

    def _inside(self, directory: _Directory) -> Iterator[_Directory | Change]:
        with ExitStack() as stack:
            upper = stack.enter_context(opened_beneath(self._upper, directory.path))
            parts = {}
            for layer in directory.layers:
                with unless_gone():
                    parts[layer] = stack.enter_context(opened_beneath(self._roots[layer], directory.path))
                    if is_opaque(parts[layer]):
                        break
            names = {os.fsencode(name) for name in os.listdir(upper)}
            hidden = _names(parts) - names if is_opaque(upper) else set()
            for name in sorted(names | hidden):
                path = directory.path + b"/" + name if directory.path else name
                if name in hidden:
                    yield Change(ChangeKind.DELETED, b"/" + path)
                    continue
                with unless_gone():
                    yield from self._entry(upper, name, path, _look_up(parts, name))

    def _entry(self, upper: int, name: bytes, path: bytes, before: _Found | None) -> Iterator[_Directory | Change]:
        status = os.lstat(name, dir_fd=upper)
        shown = b"/" + path
        if is_whiteout(status):
            if before:
                yield Change(ChangeKind.DELETED, shown)
            return
        is_directory = stat.S_ISDIR(status.st_mode)
        if before is None:
            yield Change(ChangeKind.ADDED, shown)
        elif _differ(status, before.status) or _capability(upper, name, status) != before.capability:
            yield Change(ChangeKind.MODIFIED, shown)
        elif is_directory:
            self._maybe.add(shown)
            yield Change(ChangeKind.MODIFIED, shown)
        if is_directory:
            yield _Directory(path, before.layers if before else ())


def _without_unchanged(found: tuple[list[Change], set[bytes]]) -> tuple[Change, ...]:
    """Drop the directories that turn out unchanged: read backwards, what is in a directory comes before it."""
    kept = []
    holders = set()
    for change in reversed(found[0]):
        if change.path not in found[1] or change.path in holders:
            kept.append(change)
            holders.add(os.path.dirname(change.path))
    return tuple(reversed(kept))


def _names(parts: dict[int, int]) -> set[bytes]:
    """What the layers show in a directory, together."""
    names: set[bytes] = set()
    whiteouts: set[bytes] = set()
    for fd in parts.values():
        listed = {os.fsencode(name) for name in os.listdir(fd)}
        gone = {name for name in listed if is_whiteout(os.lstat(name, dir_fd=fd))}
        names |= listed - gone - whiteouts
        whiteouts |= gone - names
    return names


def _look_up(parts: dict[int, int], name: bytes) -> _Found | None:
    """What the layers have by this name."""
    top: os.stat_result | None = None
    capability = b""
    shared = []
    for layer, fd in parts.items():
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        if is_whiteout(status) or (top and not stat.S_ISDIR(status.st_mode)):
            break
        if top is None:
            top, capability = status, _capability(fd, name, status)
        if not stat.S_ISDIR(status.st_mode):
            break
        shared.append(layer)
        if is_opaque(f"/proc/self/fd/{fd}/{os.fsdecode(name)}"):
            break
    return _Found(top, capability, tuple(shared)) if top else None


def _differ(status: os.stat_result, before: os.stat_result) -> bool:
    if (status.st_mode, status.st_uid, status.st_gid, status.st_rdev) != (
        before.st_mode, before.st_uid, before.st_gid, before.st_rdev
    ):  # fmt: skip
        return True
    if stat.S_ISDIR(status.st_mode):
        return False
    return status.st_size != before.st_size or not _same_time(status.st_mtime_ns, before.st_mtime_ns)


def _same_time(one: int, other: int) -> bool:
    """Where one has lost its fraction of a second on the way, whole seconds count."""
    if one % _SECOND and other % _SECOND:
        return one == other
    return one // _SECOND == other // _SECOND


def _capability(parent: int, name: bytes, status: os.stat_result) -> bytes:
    """A regular file's capabilities, in either of the attributes that keep them."""
    if stat.S_ISREG(status.st_mode):
        path = b"/proc/self/fd/%d/%s" % (parent, name)
        for attribute in _CAPABILITY_XATTRS:
            with suppress(OSError):
                return os.getxattr(path, attribute, follow_symlinks=False)
    return b""
