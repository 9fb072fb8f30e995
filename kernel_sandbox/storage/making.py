"""Entries of an archive to files: what unpacking a layer and copying into a container have in common.

Every byte of the archive may be hostile: a name's parent is resolved beneath the root by openat2(2), its last
component is never followed, and counts and sizes are capped. What belongs here: making the files, whatever they are.
What does not: the format of the archive (``tar``), what a name may mean (``unpack``, ``transfer``).

What cannot be made here is remembered, so that ``pack`` writes it again: the owner (``ownership``), a device node
that the kernel refuses (an empty file with the attribute ``NODE_XATTR``), file capabilities (``CAPABILITY_XATTR``).
Nothing is kept in memory from one entry to the next, however many there are.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from kernel_sandbox.errors import CorruptContent, HostError, StoreError
from kernel_sandbox.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from kernel_sandbox.storage import ownership as owners
from kernel_sandbox.storage import sparse
from kernel_sandbox.storage.limits import Limits, check, parts_of
from kernel_sandbox.storage.overlay import (
    CAPABILITY_XATTR,
    MAX_MAJOR,
    MAX_MINOR,
    NODE_XATTR,
    OPAQUE_XATTR,
    REMEMBERED_XATTRS,
    encode_node,
    is_whiteout,
)
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.tar import CHUNK, Entry, Kind, TarReader, shown

T = TypeVar("T")

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_NODE_KINDS = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}
_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_UNSUPPORTED = (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL)
_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE)
_LARGE = 16 << 20  # bytes for which room is looked for before they are written


class Maker:
    """Makes one file after another beneath the directory descriptor ``root``.

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
        self._implied = 0
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

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise CorruptContent(f"the archive has more than {self._limits.entries} entries")
        self.size += entry.size + (len(entry.link) if entry.kind is Kind.SYMLINK else 0)
        if self.size > self._limits.bytes:
            raise CorruptContent(f"the archive unpacks to more than {self._limits.bytes} bytes at {shown(entry.name)}")
        check(entry, self._limits)

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
        depth, fd = self._deepest(parts)
        try:
            for part in parts[depth:]:
                deeper = self._make_implied(fd, part)
                os.close(fd)
                fd = deeper
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _deepest(self, parts: tuple[bytes, ...]) -> tuple[int, int]:
        """How much of a path is there, and a descriptor of that much."""
        for depth in range(len(parts), 0, -1):
            with suppress(FileNotFoundError, NotADirectoryError):
                return depth, self._resolve(parts[:depth])
        return 0, os.dup(self._root)

    def _make_implied(self, parent: int, name: bytes) -> int:
        self._implied += 1
        if self._implied > self._limits.implied:
            raise CorruptContent(f"the archive has more than {self._limits.implied} directories that it does not name")
        time = os.stat(parent).st_mtime_ns
        made, _ = self._make_directory(parent, name)
        if self._keeps_times:
            os.utime(".", ns=(time, time), dir_fd=parent)
        return made

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
                return os.open(name, DIRECTORY, dir_fd=parent), False
            if not is_whiteout(status):
                raise
            opaque = True
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            os.fchmod(fd, 0o755)
            if opaque:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
        except BaseException:
            os.close(fd)
            raise
        return fd, True

    # Kinds of entries

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
        if size >= sparse.HOLE:
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
            sparse.write(fd, data)

    def _add_hardlink(self, parent: int, name: bytes, entry: Entry) -> None:
        parts = parts_of(entry.link, "hard link", self._limits)
        if not parts or parts == parts_of(entry.name, "name", self._limits):
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
            if self._single and not stat.S_ISREG(status.st_mode):
                self._set_owner_at(parent, name, entry)
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
        if error.errno in _TOO_LARGE:
            raise StoreError(
                f"no room for the attribute {name!a} of {len(value)} bytes: free some space, or move the store to "
                "a file system that holds so large ones, as XFS does"
            ) from error
        if error.errno not in _UNSUPPORTED or (is_open and name.startswith("user.")):
            raise
        if is_open and name == _CAPABILITY:
            os.setxattr(file, CAPABILITY_XATTR, value)


def _missing_target(entry: Entry) -> CorruptContent:
    return CorruptContent(
        f"archive entry {shown(entry.name)} is a hard link to {shown(entry.link)}, which is no file of the archive"
    )
