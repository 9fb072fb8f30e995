"""Directory trees on disk, walked by directory descriptors.

Every name in such a tree may have been chosen by a hostile container, and may change while it is read:
symbolic links are never followed, no path leads out of the tree, and no depth of directories exhausts the stack
or the descriptors. What does not belong here: what the files mean (``pack``, ``unpack``).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from kernel_sandbox.errors import Conflict
from kernel_sandbox.linux.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE)
_LONGEST = 4000  # bytes of a path that one system call resolves
_ROUNDS = 100  # how often a directory may be refilled while it is emptied


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the directory at ``path``, which the caller trusts to name the tree's root."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_beneath(root: int, path: bytes) -> Iterator[int]:
    """A descriptor of the directory ``path`` inside the tree ``root``; the path may be longer than PATH_MAX.

    Raises ``OSError``: ENOENT when it has vanished, ENOTDIR or ELOOP when it is no directory any more.
    """
    fd = os.open(".", _DIRECTORY, dir_fd=root)
    try:
        while path:
            cut = len(path) if len(path) <= _LONGEST else path.rindex(b"/", 0, _LONGEST)
            deeper = openat2(fd, path[:cut], _DIRECTORY, resolve=_INSIDE)
            os.close(fd)
            fd, path = deeper, path[cut + 1 :]
        yield fd
    finally:
        os.close(fd)


@contextmanager
def unless_gone() -> Iterator[None]:
    """Skip the rest of the block when a file that was listed has vanished or been replaced by another kind."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise


def files_size(path: str | os.PathLike[str]) -> int:
    """Return the bytes in a tree's files and symbolic links, a file of many names once: Docker's size of a layer."""
    total = 0
    linked: set[tuple[int, int]] = set()
    with opened(path) as root:
        pending = [b""]
        while pending:
            directory = pending.pop()
            with unless_gone(), opened_beneath(root, directory) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(os.path.join(directory, os.fsencode(entry.name)))
                    elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                        with unless_gone():
                            total += _size_once(entry.stat(follow_symlinks=False), linked)
    return total


def _size_once(status: os.stat_result, linked: set[tuple[int, int]]) -> int:
    identity = (status.st_dev, status.st_ino)
    if identity in linked:
        return 0
    if status.st_nlink > 1:
        linked.add(identity)
    return status.st_size


class _Level(msgspec.Struct):
    """A directory on the way down: who it is, its name in its parent, what is still to be removed from it."""

    name: str
    identity: tuple[int, int]
    directories: list[str]
    rounds: int = 0


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove the file or directory at ``path`` with everything in it; what is not there is removed already.

    Raises ``Conflict`` when something is mounted in the tree or keeps filling it, and ``OSError`` when the file
    system refuses.
    """
    parent, name = os.path.split(os.path.abspath(path))
    try:
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(parent_fd, name)
    finally:
        os.close(parent_fd)


def remove_at(parent: int, name: str) -> None:
    """Remove ``name`` from the directory ``parent``, as ``remove_tree`` does."""
    if _unlink(parent, name):
        return
    removal = _Removal(parent)
    try:
        removal.run(name)
    finally:
        os.close(removal.fd)


def _unlink(parent: int, name: str) -> bool:
    """Remove a file or an empty directory; false when it is a directory with something in it."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return True
        except OSError:
            return False
    return True


class _Removal:
    """One walk that empties a tree; ``fd`` is the directory it stands in, the only one that is open."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._levels: list[_Level] = []
        self.fd = os.dup(parent)

    def run(self, name: str) -> None:
        self._descend(name)
        while self._levels:
            if self._levels[-1].directories:
                self._descend(self._levels[-1].directories.pop())
            else:
                self._ascend()

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd

    def _descend(self, name: str) -> None:
        try:
            self._move(_open_for_removal(self.fd, name))
        except FileNotFoundError:
            return
        except NotADirectoryError:
            os.unlink(name, dir_fd=self.fd)
            return
        status = os.fstat(self.fd)
        if status.st_mode & 0o700 != 0o700:
            with suppress(PermissionError):
                os.fchmod(self.fd, 0o700)
        self._levels.append(_Level(name, (status.st_dev, status.st_ino), _remove_files(self.fd)))

    def _ascend(self) -> None:
        """Leave the emptied directory and remove it, or list it again when it has been filled meanwhile."""
        level = self._levels[-1]
        above = self._above(level)
        try:
            os.rmdir(level.name, dir_fd=above)
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(above)
            level.rounds += 1
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or level.rounds > _ROUNDS:
                raise Conflict(f"cannot remove {level.name!r}: it is in use ({error.strerror})") from error
            level.directories = _remove_files(self.fd)
            return
        self._levels.pop()
        self._move(above)

    def _above(self, level: _Level) -> int:
        """The parent; ``..`` is believed only when we came from there, as a directory may be moved meanwhile."""
        if len(self._levels) == 1:
            return os.dup(self._parent)
        above = os.open("..", _DIRECTORY, dir_fd=self.fd)
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != self._levels[-2].identity:
            os.close(above)
            raise Conflict(f"cannot remove {level.name!r}: it was moved while it was being removed")
        return above


def _open_for_removal(fd: int, name: str) -> int:
    resolve = _INSIDE | RESOLVE_NO_XDEV
    try:
        return openat2(fd, name, _DIRECTORY, resolve=resolve)
    except PermissionError:  # a directory of mode 000, like overlayfs's work/work
        handle = openat2(fd, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, resolve=resolve)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return openat2(fd, name, _DIRECTORY, resolve=resolve)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise Conflict(f"cannot remove {name!r}: something is mounted on it, unmount it first") from error
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from error
        raise


def _remove_files(fd: int) -> list[str]:
    """Unlink what is no directory, and return the names of what is."""
    with os.scandir(fd) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in listed:
        if not is_directory:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
    return [name for name, is_directory in listed if is_directory]
