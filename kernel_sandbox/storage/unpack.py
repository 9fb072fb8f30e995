"""A layer's archive to a directory in overlayfs form.

Follows image-spec layer.md: ``.wh.NAME`` becomes overlayfs's whiteout (a character device 0:0), ``.wh..wh..opq``
the attribute ``user.overlay.opaque`` of its directory. Every byte of the archive may be hostile: a name's parent is
resolved beneath the root by openat2(2), its last component is never followed, and counts and sizes are capped.

What belongs here: making the files. What does not: the format of the archive (``tar``), its compression and its
digest.

What cannot be made here is remembered, so that ``pack`` writes it again: the owner (``ownership``), a device node
that the kernel refuses (an empty file with the attribute ``NODE_XATTR``), file capabilities (``CAPABILITY_XATTR``).

Nothing is kept in memory from one entry to the next, however many there are: a directory gets its time with its
entry, and again whenever something has been made in it.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from kernel_sandbox.errors import CorruptContent, HostError, StoreError
from kernel_sandbox.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from kernel_sandbox.storage import ownership as owners
from kernel_sandbox.storage.overlay import (
    AUFS_METADATA,
    CAPABILITY_XATTR,
    MAX_MAJOR,
    MAX_MINOR,
    NODE_XATTR,
    OPAQUE,
    OPAQUE_XATTR,
    OVERLAY_XATTRS,
    REMEMBERED_XATTRS,
    WHITEOUT,
    encode_node,
    is_whiteout,
)
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.tar import CHUNK, SECOND, Entry, Kind, TarReader, shown
from kernel_sandbox.storage.tree import opened

T = TypeVar("T")

_CAPABILITY = "security.capability"
_NO_ID = 0xFFFFFFFF
_MAX_TIME = (1 << 40) * SECOND
_NODE_KINDS = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}
_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_LARGE = (*_FULL, errno.E2BIG, errno.ERANGE)
_LARGE = 16 << 20  # bytes for which room is looked for before they are written
_ZEROS = bytes(CHUNK)
_UNSUPPORTED = (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Limits:
    """What one layer may hold at most: entries, bytes of all files together, and for each entry bytes of its
    path (with the final NUL, as PATH_MAX counts) and bytes of all its extended attributes."""

    entries: int = 500_000
    bytes: int = 64 << 30
    path: int = 4096
    xattrs: int = 1 << 16


def unpack_layer(
    tar: BinaryIO, root: str | os.PathLike[str], ownership: Ownership, limits: Limits | None = None
) -> int:
    """Extract the uncompressed layer archive ``tar``, read to its end, into the existing directory ``root``; returns
    the bytes of its files and symbolic links, as ``tree.files_size`` counts them.

    Runs with uid 0, real or of a user namespace. A file that is there already is not replaced: Docker refuses two
    entries of one name, too. What is made before an error stays: the caller unpacks into a directory it throws away
    then.

    Raises ``CorruptContent`` naming the entry that breaks a rule or a limit, ``StoreError`` when the disk is
    full or not writable, ``HostError`` when the user namespace or the file system cannot hold what the archive
    asks for.
    """
    limits = limits or Limits()
    reader = TarReader(tar)
    with opened(root) as fd:
        unpacker = Unpacker(fd, reader, ownership, limits)
        try:
            for entry in reader:
                with _explained(entry):
                    unpacker.add(entry)
        finally:
            unpacker.close()
    while tar.read(CHUNK):
        pass
    return unpacker.size


@contextmanager
def _explained(entry: Entry) -> Iterator[None]:
    """Turn the kernel's refusals into errors that name the entry."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(f"no space left to unpack {shown(entry.name)}: free some, or move the store") from error
        if error.errno == errno.EEXIST:
            raise CorruptContent(f"the archive has more than one entry of the name {shown(entry.name)}") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(f"cannot unpack {shown(entry.name)} into the store: {error.strerror}") from error
        if error.errno == errno.EOPNOTSUPP:
            raise HostError(
                f"cannot unpack {shown(entry.name)}: the store's file system lacks user extended attributes"
            ) from error
        raise CorruptContent(f"archive entry {shown(entry.name)} cannot be unpacked: {error.strerror}") from error


def _parts(name: bytes, what: str, limits: Limits) -> tuple[bytes, ...]:
    """Split an archived name into components, refusing what could mean a place outside the root."""
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if not name or name.startswith(b"/") or b".." in parts or b"\0" in name:
        raise CorruptContent(f"the archive has a {what} that leads out of its root: {shown(name)}")
    if len(name) >= limits.path:
        raise CorruptContent(f"the archive has a {what} of {len(name)} bytes, which is too long: {shown(name)}")
    return parts


class Unpacker:
    """Makes one entry after another beneath the directory descriptor ``root``.

    Where it ``keeps_times``, a directory's time changes by its own entry alone, not by what is made in it.
    """

    def __init__(
        self, root: int, reader: TarReader, ownership: Ownership, limits: Limits, keeps_times: bool = True
    ) -> None:
        self._root = root
        self._reader = reader
        self._single = ownership is Ownership.SINGLE
        self._limits = limits
        self._entries = 0
        self.size = 0
        self._keeps_times = keeps_times
        self._parent = -1  # descriptor of the last parent, as entries come directory by directory
        self._parent_path: bytes | None = None
        self._parent_time = 0
        self._node_owners = owners.InsideOwners()  # of links and fifos made in the last parent

    def close(self) -> None:
        self._leave()

    def _leave(self) -> None:
        """Let go of the last parent, with what is to be said of it now that it is complete."""
        if self._parent_path is None:
            return
        try:
            self._remember_node_owners()
            if self._keeps_times:
                os.utime(".", ns=(self._parent_time, self._parent_time), dir_fd=self._parent)
        finally:
            os.close(self._parent)
            self._parent_path = None

    def add(self, entry: Entry) -> None:
        parts = _parts(entry.name, "name", self._limits)
        self._count(entry)
        if not parts:
            self._add_root(entry)
            return
        parent = self._open_parent(parts[:-1])
        name = parts[-1]
        if name.startswith(WHITEOUT):
            self._add_whiteout(parent, name)
        elif entry.kind is Kind.FILE:
            self._add_file(parent, name, entry)
        elif entry.kind is Kind.DIRECTORY:
            self._add_directory(parent, name, entry)
        elif entry.kind is Kind.HARDLINK:
            self._add_hardlink(parent, name, entry)
        elif entry.kind is Kind.SYMLINK:
            self._add_symlink(parent, name, entry)
        else:
            self._add_node(parent, name, entry)

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        self.size += entry.size + (len(entry.link) if entry.kind is Kind.SYMLINK else 0)
        if self._entries > self._limits.entries:
            raise CorruptContent(f"the archive has more than {self._limits.entries} entries")
        if self.size > self._limits.bytes:
            raise CorruptContent(f"the archive unpacks to more than {self._limits.bytes} bytes at {shown(entry.name)}")
        if entry.uid >= _NO_ID or entry.gid >= _NO_ID or abs(entry.mtime) > _MAX_TIME:
            raise CorruptContent(f"archive entry {shown(entry.name)} has an impossible owner or time")
        if sum(len(name) + len(value) for name, value in entry.xattrs) > self._limits.xattrs:
            raise CorruptContent(f"archive entry {shown(entry.name)} has too large extended attributes")
        for name, _ in entry.xattrs:
            if not name or b"\0" in name or name.startswith(OVERLAY_XATTRS):
                raise CorruptContent(f"archive entry {shown(entry.name)} sets the attribute {shown(name)}")

    def _make_room(self, size: int) -> None:
        """Whether the file system has so many bytes: what cannot be kept is not begun."""
        if size > _LARGE:
            disk = os.fstatvfs(self._root)
            if size > disk.f_bavail * disk.f_frsize:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Parents

    def _open_parent(self, parts: tuple[bytes, ...]) -> int:
        path = b"/".join(parts)
        if path != self._parent_path:
            self._leave()
            self._parent = self._reach(parts)
            self._parent_path = path
            self._parent_time = os.stat(self._parent).st_mtime_ns
        return self._parent

    def _reach(self, parts: tuple[bytes, ...]) -> int:
        """Return a descriptor of a directory, making those on the way that the archive did not name."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._resolve(parts)
        fd = os.dup(self._root)
        try:
            for depth, part in enumerate(parts, 1):
                try:
                    deeper = self._resolve(parts[:depth])
                except (FileNotFoundError, NotADirectoryError):
                    self._make_implied(fd, part)
                    deeper = self._resolve(parts[:depth])
                os.close(fd)
                fd = deeper
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _make_implied(self, parent: int, name: bytes) -> None:
        time = os.stat(parent).st_mtime_ns
        os.close(self._make_directory(parent, name)[0])
        if self._keeps_times:
            os.utime(".", ns=(time, time), dir_fd=parent)

    def _resolve(self, parts: tuple[bytes, ...], flags: int = _PARENT) -> int:
        return openat2(self._root, b"/".join(parts) or b".", flags, resolve=self._resolution())

    def _resolution(self) -> int:
        """How a path is resolved, as openat2(2) has it."""
        return _RESOLVE

    def _make_directory(self, parent: int, name: bytes) -> tuple[int, bool]:
        """Return a descriptor of the directory ``name``, and whether it is new.

        A directory that takes the place of a whiteout hides the layers below as the whiteout did: it is opaque.
        """
        opaque = False
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            status = os.lstat(name, dir_fd=parent)
            if stat.S_ISDIR(status.st_mode):
                return os.open(name, _DIRECTORY, dir_fd=parent), False
            if not is_whiteout(status):
                raise
            opaque = True
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            os.fchmod(fd, 0o755)
            if opaque:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
        except BaseException:
            os.close(fd)
            raise
        return fd, True

    # Kinds of entries

    def _add_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise CorruptContent(f"archive entry {shown(entry.name)} replaces the root by something else")
        self._leave()
        fd = os.open(".", _DIRECTORY, dir_fd=self._root)
        try:
            self._set_metadata(fd, entry, fresh=False)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _add_whiteout(self, parent: int, name: bytes) -> None:
        if name == OPAQUE:
            fd = os.open(".", _DIRECTORY, dir_fd=parent)
            try:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
            finally:
                os.close(fd)
            return
        if name.startswith(AUFS_METADATA):
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise CorruptContent(f"the archive has a whiteout of nothing: {shown(name)}")
        try:
            os.mknod(hidden, stat.S_IFCHR, dir_fd=parent)
        except FileExistsError:
            self._hide_below(parent, hidden)

    def _hide_below(self, parent: int, name: bytes) -> None:
        """A whiteout hides the layers below only: what this layer has already made by that name stays."""
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            fd, _ = self._make_directory(parent, name)
            try:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
            finally:
                os.close(fd)

    def _add_directory(self, parent: int, name: bytes, entry: Entry) -> None:
        fd, fresh = self._make_directory(parent, name)
        try:
            self._set_metadata(fd, entry, fresh)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _add_file(self, parent: int, name: bytes, entry: Entry) -> None:
        fd = self._create(parent, name)
        try:
            if entry.segments is None:
                self._copy_whole(fd, entry.size)
            else:
                self._copy_sparse(fd, entry)
            self._set_metadata(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _copy_whole(self, fd: int, size: int) -> None:
        self._make_room(size)
        if size >= CHUNK:
            os.ftruncate(fd, size)
        self._copy(fd, size)

    def _copy_sparse(self, fd: int, entry: Entry) -> None:
        segments = entry.segments or ()
        self._make_room(sum(length for _, length in segments))
        os.ftruncate(fd, entry.size)
        for offset, length in segments:
            os.lseek(fd, offset, os.SEEK_SET)
            self._copy(fd, length)

    def _copy(self, fd: int, size: int) -> None:
        """Write the next bytes of the content. A long run of zeros is left a hole: it may have been one, and takes
        no disk."""
        while size:
            data = self._reader.read(min(size, CHUNK))
            size -= len(data)
            if data == _ZEROS:
                os.lseek(fd, CHUNK, os.SEEK_CUR)
                continue
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, memoryview(data)[written:])

    def _add_hardlink(self, parent: int, name: bytes, entry: Entry) -> None:
        parts = _parts(entry.link, "hard link", self._limits)
        if not parts or parts == _parts(entry.name, "name", self._limits):
            raise CorruptContent(f"archive entry {shown(entry.name)} is a hard link to itself")
        try:
            source = self._resolve(parts[:-1])
        except OSError as error:
            raise _missing_target(entry) from error
        try:
            status = os.lstat(parts[-1], dir_fd=source)
            if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
                raise _missing_target(entry)
            self._in_place(
                parent,
                name,
                lambda: os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False),
            )
        except FileNotFoundError as error:
            raise _missing_target(entry) from error
        finally:
            os.close(source)

    def _add_symlink(self, parent: int, name: bytes, entry: Entry) -> None:
        if not entry.link or b"\0" in entry.link or len(entry.link) >= self._limits.path:
            raise CorruptContent(f"archive entry {shown(entry.name)} is a symbolic link to nowhere")
        self._in_place(parent, name, lambda: os.symlink(entry.link, name, dir_fd=parent))
        self._set_metadata_at(parent, name, entry)

    def _add_node(self, parent: int, name: bytes, entry: Entry) -> None:
        """Make a fifo or a device; a device the kernel refuses is remembered, and so is one that overlayfs
        would take for a whiteout."""
        if entry.kind is Kind.FIFO:
            self._in_place(parent, name, lambda: os.mknod(name, stat.S_IFIFO | 0o600, dir_fd=parent))
        else:
            if entry.major > MAX_MAJOR or entry.minor > MAX_MINOR:
                raise CorruptContent(f"archive entry {shown(entry.name)} has an impossible device number")
            device = os.makedev(entry.major, entry.minor)
            try:
                if not device:
                    raise PermissionError
                mode = _NODE_KINDS[entry.kind] | 0o600
                self._in_place(parent, name, lambda: os.mknod(name, mode, device, dir_fd=parent))
            except PermissionError:
                self._remember_node(parent, name, entry)
                return
        self._set_metadata_at(parent, name, entry)
        os.chmod(name, entry.mode, dir_fd=parent)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _remember_node(self, parent: int, name: bytes, entry: Entry) -> None:
        fd = self._create(parent, name)
        try:
            self._set_metadata(fd, entry)
            os.setxattr(fd, NODE_XATTR, encode_node(entry.kind, entry.major, entry.minor))
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _create(self, parent: int, name: bytes) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return self._in_place(parent, name, lambda: os.open(name, flags, 0o600, dir_fd=parent))

    def _in_place(self, parent: int, name: bytes, make: Callable[[], T]) -> T:
        """Make something by this name, in the place of what may make way for it."""
        try:
            return make()
        except FileExistsError:
            self._clear(parent, name)
            return make()

    def _clear(self, parent: int, name: bytes) -> None:
        """Remove what an earlier entry made by this name, if that only hides lower layers. Raises FileExistsError."""
        if not is_whiteout(os.lstat(name, dir_fd=parent)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.unlink(name, dir_fd=parent)

    # Metadata

    def _set_metadata(self, fd: int, entry: Entry, fresh: bool = True) -> None:
        """Owner first, as a change of owner takes setuid bits and capabilities away."""
        self._set_owner(fd, entry, fresh)
        os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs:
            if name not in REMEMBERED_XATTRS:
                _set_xattr(fd, os.fsdecode(name), value)

    def _set_owner(self, fd: int, entry: Entry, fresh: bool) -> None:
        if not self._single:
            _chown(entry, fd)
        elif entry.uid or entry.gid or not fresh:
            os.setxattr(fd, owners.XATTR, owners.encode_owner(entry.uid, entry.gid))

    def _set_owner_at(self, parent: int, name: bytes, entry: Entry) -> None:
        if not self._single:
            _chown(entry, name, parent)
        elif entry.uid or entry.gid:
            self._node_owners.add(name, entry.uid, entry.gid)

    def _remember_node_owners(self) -> None:
        """Keep the owners of links and fifos with their directory: all, or the commonest where there is no room."""
        if not self._node_owners.named:
            return
        made, self._node_owners = self._node_owners, owners.InsideOwners()
        path = f"/proc/self/fd/{self._parent}"
        known = owners.InsideOwners()
        with suppress(OSError):
            known = owners.InsideOwners.decoded(os.getxattr(path, owners.INSIDE_XATTR))
        known.named.update(made.named)
        try:
            os.setxattr(path, owners.INSIDE_XATTR, known.encoded())
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            os.setxattr(path, owners.INSIDE_XATTR, known.shortened().encoded())

    def _set_metadata_at(self, parent: int, name: bytes, entry: Entry) -> None:
        """The same for what must not be opened: symbolic links, fifos, devices."""
        self._set_owner_at(parent, name, entry)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        path = b"/proc/self/fd/%d/%s" % (parent, name)
        for xattr, value in entry.xattrs:
            _set_xattr(path, os.fsdecode(xattr), value)


def _chown(entry: Entry, file: int | bytes, parent: int | None = None) -> None:
    try:
        if isinstance(file, int):
            os.fchown(file, entry.uid, entry.gid)
        else:
            os.chown(file, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise HostError(
            f"{shown(entry.name)} belongs to {entry.uid}:{entry.gid}, which the user namespace does not have: "
            "give this user a wider range in /etc/subuid and /etc/subgid"
        ) from error


def _set_xattr(file: int | bytes, name: str, value: bytes) -> None:
    """Set an attribute of an open file, or of one that cannot be opened. What this user or this kind of file may
    not have is left out, as Docker does, but for an open file's ``user.`` attributes, which it must have, and
    its capabilities, which are remembered."""
    is_open = isinstance(file, int)
    try:
        os.setxattr(file, name, value, follow_symlinks=is_open)
    except OSError as error:
        if error.errno not in _UNSUPPORTED or (is_open and name.startswith("user.")):
            raise
        if is_open and name == _CAPABILITY:
            os.setxattr(file, CAPABILITY_XATTR, value)


def _missing_target(entry: Entry) -> CorruptContent:
    return CorruptContent(
        f"archive entry {shown(entry.name)} is a hard link to {shown(entry.link)}, which is no file of the archive"
    )
