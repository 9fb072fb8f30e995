"""A layer's archive to a directory in overlayfs form.

Follows image-spec layer.md: ``.wh.NAME`` becomes overlayfs's whiteout (a character device 0:0), ``.wh..wh..opq``
the attribute ``user.overlay.opaque`` of its directory. A directory gets its time with its entry, and again whenever
something has been made in it.

What belongs here: what an entry means in a layer, and which are refused. What does not: making files (``making``), the
format of the archive (``tar``), its compression and its digest.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from kernel_sandbox.errors import CorruptContent, HostError, StoreError
from kernel_sandbox.storage.limits import Limits, parts_of
from kernel_sandbox.storage.making import DIRECTORY, Maker
from kernel_sandbox.storage.overlay import AUFS_METADATA, OPAQUE, OPAQUE_XATTR, WHITEOUT
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.tar import Entry, Kind, TarReader, read_rest, shown
from kernel_sandbox.storage.tree import opened

_FULL = (errno.ENOSPC, errno.EDQUOT)


def unpack_layer(
    tar: BinaryIO, root: str | os.PathLike[str], ownership: Ownership, limits: Limits | None = None
) -> int:
    """Extract the uncompressed layer archive ``tar``, read to its end, into the existing directory ``root``; returns
    the bytes of its files and symbolic links, as ``tree.files_size`` counts them.

    Runs with uid 0, real or of a user namespace. Two entries of one name are refused, as by Docker. What is made
    before an error stays: the caller unpacks into a directory it throws away then.

    Raises ``CorruptContent`` naming the entry that breaks a rule or a limit, ``StoreError`` when the disk is
    full or not writable, ``HostError`` when the user namespace or the file system cannot hold what the archive
    asks for.
    """
    limits = limits or Limits()
    reader = TarReader(tar)
    with opened(root) as fd:
        unpacker = _Unpacker(fd, reader, ownership, limits)
        try:
            for entry in reader:
                with _explained(entry):
                    unpacker.add(entry)
        finally:
            unpacker.close()
    read_rest(tar)
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


class _Unpacker(Maker):
    """Makes what the entries of a layer stand for."""

    def __init__(self, root: int, reader: TarReader, ownership: Ownership, limits: Limits) -> None:
        super().__init__(root, reader, ownership, limits)
        self._names: set[int] = set()  # of the entries so far, as numbers, which take less memory

    def add(self, entry: Entry) -> None:
        is_root = entry.kind is Kind.DIRECTORY and not entry.name.strip(b"/")  # which some builders call "/"
        parts = () if is_root else parts_of(entry.name, "name", self._limits)
        self._count(entry)
        self._check_name(parts)
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

    def _check_name(self, parts: tuple[bytes, ...]) -> None:
        key = hash(b"/".join(parts))
        if key in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._names.add(key)

    def _add_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise CorruptContent(f"archive entry {shown(entry.name)} replaces the root by something else")
        self._leave()
        fd = os.open(".", DIRECTORY, dir_fd=self._root)
        try:
            self._set_metadata(fd, entry, fresh=False)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _add_whiteout(self, parent: int, name: bytes) -> None:
        if name == OPAQUE:
            fd = os.open(".", DIRECTORY, dir_fd=parent)
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
