"""An empty volume gets what the image has in its place, as Docker does it, before the volume is mounted there.

Runs in the container's first process, with no more rights than the container will have. Both sides are hostile: the
image by what is in it, the volume by other containers that change it meanwhile. So a name is resolved from the root
of its own side, over no symbolic link and no mount (openat2(2)), or is the last component and not followed; nothing is
reached by a path of the host's. Devices are left out: none would open on a volume.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime.mounting import closing

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_BENEATH = (
    syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_MAGICLINKS
)
_UNFILLED = ".kernel-sandbox.unfilled"
_HALF = ".kernel-sandbox.half"
_CHUNK = 1 << 24
_UNSUPPORTED = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)


def fill(volume: int, root: int, target: str) -> None:
    """Copy the directory *target* inside *root* to the top of *volume*, unless that has something in it.

    A copy that was interrupted has left a mark in the volume, and is completed. The caller sees to it that nobody else
    fills the volume meanwhile. Raises ContainerStartError.
    """
    try:
        source = _opened_target(root, target)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise ContainerStartError(f"cannot mount volume over existing file, file exists {target}") from error
    with closing(source), closing(syscalls.openat2(volume, ".", _DIRECTORY, resolve=_BENEATH)) as top:
        present = os.listdir(top)
        if _UNFILLED in present or not present:
            with _no_umask():
                _copy(source, top, target)


def _opened_target(root: int, target: str) -> int:
    """Links on the way are followed as the container would follow them."""
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_MAGICLINKS
    return syscalls.openat2(root, target, _DIRECTORY, resolve=resolve)


def _copy(source: int, top: int, target: str) -> None:
    try:
        os.close(os.open(_UNFILLED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=top))
        _Copy(source, top).run()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ContainerStartError(f"cannot copy the image's {target} into the volume: {reason}") from error


class _Copy:
    """One tree copied into another; paths are relative to both tops."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._links: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        """Directories from above, and their own attributes last: filling them would change their times."""
        directories = ["."]
        for path in directories:
            with self._both(path) as (source, target):
                directories += self._copy_entries(path, source, target)
        for path in reversed(directories):
            with self._both(path) as (source, target):
                _copy_attributes(source, target)
        os.unlink(_UNFILLED, dir_fd=self._target)
        _copy_attributes(self._source, self._target)

    @contextlib.contextmanager
    def _both(self, path: str) -> Iterator[tuple[int, int]]:
        with (
            closing(syscalls.openat2(self._source, path, _DIRECTORY, resolve=_BENEATH)) as source,
            closing(syscalls.openat2(self._target, path, _DIRECTORY, resolve=_BENEATH)) as target,
        ):
            yield source, target

    def _copy_entries(self, path: str, source: int, target: int) -> list[str]:
        """Copy what a directory has, but what is there already; returns the directories, made empty."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_HALF, dir_fd=target)
        directories = []
        for name in os.listdir(source):
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            where = f"{path}/{name}"
            if stat.S_ISDIR(status.st_mode):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=target)
                directories.append(where)
            elif not _exists(name, target) and not self._is_linked(status, where, name, target):
                _copy_entry(name, status, source, target)
        return directories

    def _is_linked(self, status: os.stat_result, where: str, name: str, target: int) -> bool:
        """Whether the file has been copied under another name, and gets this one too."""
        if status.st_nlink == 1:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), where)
        if first == where:
            return False
        parent, _, old = first.rpartition("/")
        with closing(syscalls.openat2(self._target, parent, _DIRECTORY, resolve=_BENEATH)) as directory:
            try:
                os.link(old, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _copy_entry(name: str, status: os.stat_result, source: int, target: int) -> None:
    """Anything but a directory."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        _copy_file(name, source, target)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif kind in (stat.S_IFIFO, stat.S_IFSOCK):
        os.mknod(name, status.st_mode, dir_fd=target)
    if kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK):
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    """A file gets its name when it is whole."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=source)
    with (
        closing(reader),
        closing(os.open(_HALF, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=target)) as writer,
    ):
        _copy_content(reader, writer)
        _copy_attributes(reader, writer)
    with contextlib.suppress(FileExistsError):
        os.link(_HALF, name, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
    os.unlink(_HALF, dir_fd=target)


def _copy_content(reader: int, writer: int) -> None:
    """What the file holds; its holes stay holes."""
    size = os.fstat(reader).st_size
    os.truncate(writer, size)
    start = end = 0
    while end < size:
        try:
            start = os.lseek(reader, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(reader, start, os.SEEK_HOLE)
        os.lseek(writer, start, os.SEEK_SET)
        while start < end and (sent := os.sendfile(writer, reader, start, min(_CHUNK, end - start))):
            start += sent


def _copy_attributes(source: int, target: int) -> None:
    """Owner, extended attributes, mode and times of open files: a new owner takes the mode's set-id bits away."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
