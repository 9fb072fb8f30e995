"""Plain archives to files: what ``cp`` does at the end of its road.

Unlike a layer's, such an archive has no whiteouts, nothing is removed for it but files that it replaces, and its names
go below a directory that is somebody's. It may come from a hostile container: names are resolved beneath a root, and
on the caller's own machine through real directories alone; no device is made there, nothing gets the right to become
another user, and no owner is kept unless asked for.

What does not belong here: finding the two places (``engine.copying``), packing (``pack.pack_tree``).
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
from msgspec.structs import replace

from kernel_sandbox.errors import CorruptContent, SandboxError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.storage.limits import Limits
from kernel_sandbox.storage.making import DIRECTORY, Maker
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.tar import Entry, Kind, Source, TarReader, shown

_NO_LIMITS = Limits(entries=1 << 62, implied=1 << 62, bytes=1 << 62)
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_REAL = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_SET_ID = stat.S_ISUID | stat.S_ISGID
_DEVICES = (Kind.CHARACTER, Kind.BLOCK)


class Owners(enum.Enum):
    """Whose the copies become: of those that the archive names, of root, of whoever makes them."""

    ARCHIVE = enum.auto()
    ROOT = enum.auto()
    CALLER = enum.auto()


class Destination(msgspec.Struct, frozen=True):
    """Where an archive goes: below ``directory``, a path inside of the descriptor ``root``.

    ``name`` replaces the first component of every name. ``is_inside``: the root is a container's, in which symbolic
    links lead to other places of that container; elsewhere they are not followed. ``shown`` is the directory in
    messages.
    """

    root: int
    directory: str = ""
    name: str | None = None
    is_inside: bool = False
    shown: str = ""


def unpack_tree(
    archive: Source, choose: Callable[[Entry], Destination], owners: Owners, ownership: Ownership = Ownership.REAL
) -> None:
    """Make the files of a plain archive, where *choose* says on seeing its first entry.

    What is made before an error stays. Raises SandboxError naming the entry that cannot be made, CorruptContent.
    """
    reader = TarReader(archive)
    entries = iter(reader)
    first = next(entries, None)
    if first is None:
        return
    extraction = _Extraction(choose(first), reader, first, owners, ownership)
    try:
        extraction.add(first)
        for entry in entries:
            extraction.add(entry)
        extraction.finish()
    finally:
        extraction.close()


class _Extraction(Maker):
    """One archive on its way to its destination."""

    def __init__(
        self, destination: Destination, reader: TarReader, first: Entry, owners: Owners, ownership: Ownership
    ) -> None:
        super().__init__(destination.root, reader, ownership, _NO_LIMITS, keeps_times=False)
        self._destination = destination
        self._owners = owners
        self._base = _parts(os.fsencode(destination.directory))
        self._top = _parts(first.name)
        self._settled: list[tuple[tuple[bytes, ...], Entry]] = []

    def add(self, entry: Entry) -> None:
        """Make one entry. Raises SandboxError where it cannot be."""
        with self._explained(entry):
            parts = self._placed(entry.name)
            self._count(entry)
            if parts != self._base and (self._inside or entry.kind not in _DEVICES):
                self._make(parts, self._suited(entry, parts))

    @property
    def _inside(self) -> bool:
        return self._destination.is_inside

    def _placed(self, name: bytes) -> tuple[bytes, ...]:
        """Where an archived name goes, in components from the root."""
        parts = _parts(name)
        if self._destination.name is not None:
            if parts[: len(self._top)] != self._top:
                raise CorruptContent(f"archive entry {shown(name)} is not below the archive's first")
            parts = (os.fsencode(self._destination.name), *parts[len(self._top) :])
        return (*self._base, *parts)

    def _suited(self, entry: Entry, parts: tuple[bytes, ...]) -> Entry:
        """The entry as it is to be made here."""
        link = b"/".join(self._placed(entry.link)) if entry.kind is Kind.HARDLINK else entry.link
        entry = replace(entry, name=b"/".join(parts), link=link)
        return replace(entry, uid=0, gid=0) if self._owners is Owners.ROOT else entry

    def _make(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        parent, name = self._open_parent(parts[:-1]), parts[-1]
        match entry.kind:
            case Kind.DIRECTORY:
                self._add_directory(parent, name, entry)
                self._settled.append((parts, entry))
            case Kind.FILE:
                self._add_file(parent, name, entry)
            case Kind.HARDLINK:
                self._add_hardlink(parent, name, entry)
            case Kind.SYMLINK:
                self._add_symlink(parent, name, entry)
            case _:
                self._add_node(parent, name, entry)

    def finish(self) -> None:
        """Give the directories their modes and times, the deepest first: a mode may close what is below."""
        self._leave()
        for parts, entry in reversed(self._settled):
            with suppress(FileNotFoundError, NotADirectoryError), self._explained(entry):
                fd = self._resolve(parts, DIRECTORY)
                try:
                    os.fchmod(fd, entry.mode)
                    os.utime(fd, ns=(entry.mtime, entry.mtime))
                finally:
                    os.close(fd)

    def _resolution(self) -> int:
        return _INSIDE if self._inside else _REAL

    def _add_directory(self, parent: int, name: bytes, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                raise self._in_the_way("non-directory", entry, "directory") from None
        with _handle(parent, name) as handle:
            with suppress(PermissionError):
                os.chmod(f"/proc/self/fd/{handle}", 0o700 | entry.mode)
            fd = os.open(".", DIRECTORY, dir_fd=handle)
        try:
            self._set_metadata(fd, replace(entry, mode=entry.mode | 0o700))
        finally:
            os.close(fd)

    def _add_node(self, parent: int, name: bytes, entry: Entry) -> None:
        """A fifo or a device; its mode is set on what was made, should a link have taken its place since."""
        if entry.kind is not Kind.FIFO:
            self._clear(parent, name)
            self._remember_node(parent, name, entry)
            return
        self._clear(parent, name)
        os.mknod(name, stat.S_IFIFO | 0o600, dir_fd=parent)
        self._set_metadata_at(parent, name, entry)
        with _handle(parent, name) as handle:
            if stat.S_ISFIFO(os.fstat(handle).st_mode):
                os.chmod(f"/proc/self/fd/{handle}", entry.mode)

    def _clear(self, parent: int, name: bytes) -> None:
        """A file makes way for another; a directory does not."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise self._in_the_way("directory", name, "non-directory") from None

    def _in_the_way(self, there: str, what: Entry | bytes, comes: str) -> SandboxError:
        name = what if isinstance(what, bytes) else what.name.rsplit(b"/", 1)[-1]
        place = self._destination.shown.rstrip("/")
        path = f"{place}/{os.fsencode(name).decode(errors='replace')}"
        return SandboxError(f'cannot overwrite {there} "{path}" with {comes} "{place or "/"}"')

    def _set_metadata(self, fd: int, entry: Entry, fresh: bool = True) -> None:
        if self._owners is Owners.CALLER or not self._inside:
            is_own = self._chown_where_allowed(fd, entry)
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            os.fchmod(fd, entry.mode if is_own or is_directory else entry.mode & ~_SET_ID)
        else:
            self._set_owner(fd, entry, fresh)
            os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs:
            if self._is_carried(name):
                with suppress(OSError):
                    os.setxattr(fd, os.fsdecode(name), value)

    def _chown_where_allowed(self, fd: int, entry: Entry) -> bool:
        """Whether the file belongs to whom the archive says."""
        if self._owners is Owners.CALLER:
            return False
        with suppress(OSError):
            os.fchown(fd, entry.uid, entry.gid)
            return True
        return False

    def _set_metadata_at(self, parent: int, name: bytes, entry: Entry) -> None:
        if self._inside:
            self._set_owner_at(parent, name, entry)
        elif self._owners is Owners.ARCHIVE:
            with suppress(OSError):
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _is_carried(self, name: bytes) -> bool:
        """The user's own attributes; a program's capabilities mean something in a container only, which keeps them."""
        return name.startswith(b"user.") or (self._inside and name == b"security.capability")

    @contextmanager
    def _explained(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SandboxError(f"cannot write {shown(entry.name)}: {reason}") from error


@contextmanager
def _handle(parent: int, name: bytes) -> Iterator[int]:
    """What the name stands for, be it a link, as something to hold on to."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def _parts(name: bytes) -> tuple[bytes, ...]:
    """An archived name's components, ``..`` taken back as far as there is something before it."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise CorruptContent(f"{shown(name)} is outside of its destination")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)
