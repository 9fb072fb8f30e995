"""Directories to archives: those in overlayfs form to a layer's, any other to a plain one.

Follows image-spec layer.md, the reverse of ``unpack``: whiteouts become ``.wh.NAME``, an opaque directory holds
``.wh..wh..opq``, and what ``unpack`` remembered in attributes is written as what it stands for. Names are sorted,
so that the same tree gives the same bytes. A plain archive has no whiteouts: every name is one.

Small holes of files are written as zeros, which ``unpack`` makes holes again. image-spec advises against entries for
sparse files, and what has them Docker loads but does not save again. So only what no one would want written out,
beyond ``_ZEROS`` in an archive, becomes one.

A running container may change the tree meanwhile: symbolic links are never followed, a file that vanishes is left
out, and one that changes its size is cut or filled to the size its header says. What does not belong here:
compression, digests, mounts.
"""

import enum
import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import msgspec
from msgspec.structs import replace

from kernel_sandbox.errors import CorruptContent, SandboxError
from kernel_sandbox.storage import attributes, sparse
from kernel_sandbox.storage import ownership as owners
from kernel_sandbox.storage.overlay import (
    NODE_XATTR,
    OPAQUE,
    WHITEOUT,
    decode_node,
    is_opaque,
    is_whiteout,
)
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.tar import BLOCK, CHUNK, END, Entry, Kind, Sink, shown
from kernel_sandbox.storage.tar_writing import header
from kernel_sandbox.storage.tree import opened, opened_beneath, unless_gone

Path = str | os.PathLike[str]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
}
_ZEROS = 256 << 20
_PATH_MAX = 4096  # with the final NUL


def pack_diff(upper: Path, out: Sink, ownership: Ownership, exclude: frozenset[bytes] = frozenset()) -> None:
    """Write what an overlay's ``upper`` directory changes as a layer archive.

    ``exclude`` holds paths relative to the root, left out with all they contain. The root itself has no entry,
    so that an unchanged container gives an archive of none. Errors of writing are those of ``out``.
    """
    with opened(upper) as root:
        _Packer((root,), out, ownership, exclude, _Form.DIFF).run()


def pack_rootfs(layers: Sequence[Path], out: Sink, ownership: Ownership) -> None:
    """Write the file system that ``layers``, topmost first, make together: what overlayfs would show.

    Hard links are kept inside a layer. Errors of writing are those of ``out``.
    """
    with ExitStack() as stack:
        roots = tuple(stack.enter_context(opened(layer)) for layer in layers)
        _Packer(roots, out, ownership, frozenset(), _Form.MERGED).run()


def pack_tree(top: int, name: bytes, out: Sink, ownership: Ownership, keeps_holes: bool = False) -> None:
    """Write what the descriptor ``top`` (O_PATH will do) stands for, under ``name``, with all that is in it.

    ``name`` may be ``.`` or ``/`` for a directory. Where it ``keeps_holes``, holes of files stay holes, in GNU tar's
    way. A socket and, inside a directory, what vanishes meanwhile are left out. Errors of writing are those of ``out``.
    """
    zeros = 0 if keeps_holes else sys.maxsize
    if not stat.S_ISDIR(os.fstat(top).st_mode):
        _Packer((), out, ownership, frozenset(), _Form.PLAIN, zeros=zeros).run_single(top, name)
        return
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top)
    try:
        _Packer((root,), out, ownership, frozenset(), _Form.PLAIN, name.rstrip(b"/") + b"/", zeros).run()
    finally:
        os.close(root)


class _Form(enum.Enum):
    """What is written: one layer with its whiteouts, several merged, or a tree that knows no whiteouts."""

    DIFF = enum.auto()
    MERGED = enum.auto()
    PLAIN = enum.auto()


class _Directory(msgspec.Struct, frozen=True):
    """A directory still to be written, and the layers that have a part in it, topmost first."""

    path: bytes
    layers: tuple[int, ...]


class _Packer:
    """One walk over the merged layers; each directory is opened anew from its layer's root descriptor."""

    def __init__(
        self,
        roots: tuple[int, ...],
        out: Sink,
        ownership: Ownership,
        exclude: frozenset[bytes],
        form: _Form,
        prefix: bytes = b"",
        zeros: int = _ZEROS,
    ) -> None:
        self._roots = roots
        self._out = out
        self._single = ownership is Ownership.SINGLE
        self._exclude = exclude
        self._form = form
        self._prefix = prefix
        self._zeros = zeros  # how many bytes of holes may still be written as zeros
        self._inside: dict[int, owners.InsideOwners] = {}  # by descriptor, of the directory that is being written
        self._linked: dict[tuple[int, int, int], bytes] = {}  # layer, device, inode: the name first written

    def run(self) -> None:
        pending = [_Directory(b"", tuple(range(len(self._roots))))]
        while pending:
            pending += reversed(self._directory(pending.pop()))
        self._out.write(END)

    def run_single(self, top: int, name: bytes) -> None:
        """Write what is no directory: an archive of one entry, of none for a socket."""
        status = os.fstat(top)
        path = b"/proc/self/fd/%d" % top
        if stat.S_ISREG(status.st_mode):
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                self._content(fd, status, name)
            finally:
                os.close(fd)
        elif not stat.S_ISSOCK(status.st_mode):
            link = os.readlink(b"", dir_fd=top) if stat.S_ISLNK(status.st_mode) else b""
            self._out.write(header(self._entry(name, status, attributes.read(path, follow=True), link)))
        self._out.write(END)

    def _directory(self, directory: _Directory) -> list[_Directory]:
        """Write a directory's own entry and its files; returns the directories in it, sorted by name."""
        with ExitStack() as stack:
            parts: dict[int, int] = {}  # layer: descriptor
            for layer in directory.layers:
                with unless_gone():
                    fd = stack.enter_context(opened_beneath(self._roots[layer], directory.path))
                    parts[layer] = fd
                    if is_opaque(fd):
                        break
            if not parts:
                return []
            top = next(iter(parts.values()))
            if directory.path or self._prefix:
                name = self._prefix + directory.path + (b"/" if directory.path else b"")
                self._out.write(header(self._entry(name, os.fstat(top), attributes.read(top))))
            if self._form is _Form.DIFF and is_opaque(top):
                self._write_whiteout(directory.path, OPAQUE)
            return self._files(directory.path, parts)

    def _files(self, path: bytes, parts: dict[int, int]) -> list[_Directory]:
        directories = []
        self._inside.clear()
        for name, found in sorted(_listing(parts).items()):
            full = path + b"/" + name if path else name
            self._check_path(full)
            layer, kind = found[0]
            if full in self._exclude or self._is_reserved(name):
                continue
            if kind is Kind.DIRECTORY:
                directories.append(_Directory(full, _merged(found)))
                continue
            with unless_gone():
                status = os.lstat(name, dir_fd=parts[layer])
                if is_whiteout(status) and self._form is not _Form.PLAIN:
                    if self._form is _Form.DIFF:
                        self._write_whiteout(path, WHITEOUT + name)
                elif not stat.S_ISSOCK(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                    self._file(layer, parts[layer], name, self._prefix + full, status)
        return directories

    def _check_path(self, path: bytes) -> None:
        if len(path) >= _PATH_MAX and self._form is not _Form.PLAIN:
            raise SandboxError(
                f"cannot archive {shown(path)}: its path has {len(path)} bytes, and with {_PATH_MAX} or more "
                "no one can unpack it"
            )

    def _is_reserved(self, name: bytes) -> bool:
        """Whether image-spec keeps the name for itself."""
        return self._form is not _Form.PLAIN and name.startswith(WHITEOUT)

    def _write_whiteout(self, path: bytes, name: bytes) -> None:
        self._out.write(header(Entry(path + b"/" + name if path else name, Kind.FILE, mode=0)))

    def _file(self, layer: int, parent: int, name: bytes, full: bytes, status: os.stat_result) -> None:
        identity = (layer, status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            first = self._linked.get(identity)
            if first is not None:
                self._out.write(header(self._hardlink(parent, name, full, status, first)))
                return
        if stat.S_ISREG(status.st_mode):
            self._regular(parent, name, full)
        else:
            link = _link_target(parent, name) if stat.S_ISLNK(status.st_mode) else b""
            xattrs = attributes.read(b"/proc/self/fd/%d/%s" % (parent, name))
            self._out.write(header(self._owned(self._entry(full, status, xattrs, link), parent, name)))
        if status.st_nlink > 1:
            self._linked[identity] = full

    def _owned(self, entry: Entry, parent: int, name: bytes) -> Entry:
        """A link or fifo with its owner, where its directory is what remembers it."""
        if not self._single:
            return entry
        if parent not in self._inside:
            value = b""
            with suppress(OSError):
                value = os.getxattr(parent, owners.INSIDE_XATTR)
            self._inside[parent] = owners.InsideOwners.decoded(value)
        uid, gid = self._inside[parent].of(name)
        return replace(entry, uid=uid, gid=gid)

    def _hardlink(self, parent: int, name: bytes, full: bytes, status: os.stat_result, first: bytes) -> Entry:
        """One more name for a file. It repeats what the file is like: readers set that again after linking."""
        entry = self._entry(full, status, attributes.read(b"/proc/self/fd/%d/%s" % (parent, name)))
        if not stat.S_ISREG(status.st_mode):
            entry = self._owned(entry, parent, name)
        return replace(entry, kind=Kind.HARDLINK, size=0, link=first, major=0, minor=0)

    def _regular(self, parent: int, name: bytes, full: bytes) -> None:
        with _opened_file(parent, name) as (fd, status):
            self._content(fd, status, full)

    def _content(self, fd: int, status: os.stat_result, full: bytes) -> None:
        entry = self._entry(full, status, attributes.read(fd))
        segments = self._segments(fd, entry, status)
        if segments is not None:
            self._out.write(sparse.header(entry, segments))
            for offset, length in segments:
                os.lseek(fd, offset, os.SEEK_SET)
                self._copy(fd, length)
            self._out.write(bytes(-sum(length for _, length in segments) % BLOCK))
            return
        if entry.size <= CHUNK:
            content = os.read(fd, entry.size) if entry.size else b""
            filling = entry.size - len(content)
            self._out.write(b"".join((header(entry), content, bytes(filling + -entry.size % BLOCK))))
            return
        self._out.write(header(entry))
        self._copy(fd, entry.size)
        self._out.write(bytes(-entry.size % BLOCK))

    def _segments(self, fd: int, entry: Entry, status: os.stat_result) -> tuple[tuple[int, int], ...] | None:
        """The pieces of a file whose holes are to stay holes; None for one that is written whole."""
        holes = entry.size - status.st_blocks * 512
        if entry.kind is not Kind.FILE or holes <= 0:
            return None
        if holes <= self._zeros:
            self._zeros -= holes
            return None
        segments = sparse.segments(fd, entry.size)
        return segments if sum(length for _, length in segments) < entry.size else None

    def _copy(self, fd: int, left: int) -> None:
        """The next bytes of a file, filled up with zeros where it has become shorter."""
        while left and (content := os.read(fd, min(left, CHUNK))):
            self._out.write(content)
            left -= len(content)
        while left:
            self._out.write(bytes(min(left, CHUNK)))
            left -= min(left, CHUNK)

    def _entry(self, name: bytes, status: os.stat_result, xattrs: dict[bytes, bytes], link: bytes = b"") -> Entry:
        """Return the entry a file is archived as, with what was remembered in its attributes restored."""
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if kind is Kind.FILE and (remembered := decode_node(xattrs.get(NODE_XATTR.encode(), b""))):
            kind, major, minor = remembered
        uid, gid = status.st_uid, status.st_gid
        if self._single and (owner := xattrs.get(owners.XATTR.encode())) is not None:
            with suppress(CorruptContent):  # the container itself may have written nonsense there
                uid, gid = owners.decode_owner(owner)
        return Entry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=uid,
            gid=gid,
            mtime=status.st_mtime_ns,
            size=status.st_size if kind is Kind.FILE else 0,
            link=link,
            major=major,
            minor=minor,
            xattrs=attributes.archived(xattrs, self._single),
        )


@contextmanager
def _opened_file(parent: int, name: bytes) -> Iterator[tuple[int, os.stat_result]]:
    fd = os.open(name, _FILE, dir_fd=parent)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError  # replaced by something else since it was listed
        yield fd, status
    finally:
        os.close(fd)


def _link_target(parent: int, name: bytes) -> bytes:
    """readlink(2); what is no link any more (EINVAL) has vanished as one."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        raise


def _listing(parts: dict[int, int]) -> dict[bytes, list[tuple[int, Kind]]]:
    """What each name of a merged directory is in the layers that have it, topmost first; ``FILE`` stands for all
    that is no directory."""
    found: dict[bytes, list[tuple[int, Kind]]] = {}
    for layer, fd in parts.items():
        with os.scandir(fd) as entries:
            for entry in entries:
                kind = Kind.DIRECTORY if entry.is_dir(follow_symlinks=False) else Kind.FILE
                found.setdefault(os.fsencode(entry.name), []).append((layer, kind))
    return found


def _merged(found: list[tuple[int, Kind]]) -> tuple[int, ...]:
    """The layers whose directories of one name merge: down to the first that has something else there."""
    layers = []
    for layer, kind in found:
        if kind is not Kind.DIRECTORY:
            break
        layers.append(layer)
    return tuple(layers)
