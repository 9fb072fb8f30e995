"""Half-made things: how a file or a directory comes into being so that nobody ever meets half of it.

Here: a place to make things in (``Staging``), and the words for a store that refuses (``store_errors``).
Not here: what is made, or its final place.

An entry is locked with flock(2) while its maker lives; the lock goes with the maker, however it dies, so what
is there and can be locked has been abandoned. Makers and searchers meet on a lock of the staging directory
itself: no searcher sees an entry between its creation and its locking.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator

from kernel_sandbox.errors import SandboxError, StoreError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_PERMISSION = (errno.EROFS, errno.EACCES, errno.EPERM)


def _remove_tree(path: str) -> None:
    import shutil

    shutil.rmtree(path)


@contextlib.contextmanager
def store_errors(path: str) -> Iterator[None]:
    """What the system refuses while the store works on ``path``, as a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or path, (error.strerror or str(error)).lower()
        if error.errno in _NO_SPACE:
            remedy = "free some space, or point KERNEL_SANDBOX_HOME elsewhere"
        elif error.errno in _NO_PERMISSION:
            remedy = "make it writable, or point KERNEL_SANDBOX_HOME elsewhere"
        else:
            remedy = "check the file system, or point KERNEL_SANDBOX_HOME elsewhere"
        raise StoreError(f"cannot use {os.fsdecode(where)}: {reason}; {remedy}") from error


def try_lock(descriptor: int, operation: int) -> bool:
    """Whether the lock could be had at once, LOCK_EX or LOCK_SH (flock(2)). Raises OSError."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Staging:
    """A directory of half-made entries, shared by many processes; on one file system with their final places.

    ``remove_tree`` takes a directory and removes it: the caller's choice, since its content may have owners
    that only the store's user namespace may touch. What it cannot remove stays, abandoned.
    """

    def __init__(self, directory: str | os.PathLike[str], remove_tree: Callable[[str], None] = _remove_tree):
        self.path = os.fspath(directory)
        self._remove_tree = remove_tree

    @contextlib.contextmanager
    def file(self) -> Iterator[str]:
        """The path of a new, empty, private file, removed at the end unless it was moved away."""
        with self._entry(_create_file) as path:
            try:
                yield path
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(path)

    @contextlib.contextmanager
    def directory(self) -> Iterator[str]:
        """The path of a new, empty, private directory, removed at the end unless it was moved away.

        It lies inside the locked entry, so that whatever owner and mode it is given the lock can be tried.
        """
        with self._entry(_create_directory) as entry:
            path = os.path.join(entry, "content")
            try:
                with store_errors(path):
                    os.mkdir(path, 0o700)
                yield path
            finally:
                self._remove_entry(entry)

    def abandoned(self) -> tuple[str, ...]:
        """Paths of entries whose maker is dead, sorted. Another process may be removing them already."""
        if not os.path.isdir(self.path):
            return ()
        with store_errors(self.path), self._locked(fcntl.LOCK_EX):
            entries = sorted(entry.path for entry in os.scandir(self.path))
            return tuple(path for path in entries if _is_unlocked(path))

    def clear(self) -> None:
        """Removes the entries whose maker is dead, unless another process is doing it."""
        for path in self.abandoned():
            with _locked_if_free(path) as is_free:
                if is_free:
                    self._remove_entry(path)

    @contextlib.contextmanager
    def _entry(self, create: Callable[[str], int]) -> Iterator[str]:
        path = os.path.join(self.path, os.urandom(16).hex())
        with store_errors(self.path):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            with self._locked(fcntl.LOCK_SH):
                fd = create(path)
                fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            os.close(fd)

    def _remove_entry(self, entry: str) -> None:
        try:
            os.rmdir(entry)
        except NotADirectoryError:
            with contextlib.suppress(OSError):
                os.unlink(entry)
        except OSError:
            with contextlib.suppress(OSError, SandboxError):
                self._remove_tree(entry)

    @contextlib.contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, operation)
            yield
        finally:
            os.close(fd)


def write_durably(path: str, data: bytes, mode: int) -> None:
    """Writes ``data`` to the file ``path``, made if need be, through to the disk; raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)


def sync_directory(path: str) -> None:
    """Makes the names in the directory ``path`` survive a crash; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _create_file(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _create_directory(path: str) -> int:
    os.mkdir(path, 0o700)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_unlocked(path: str) -> bool:
    with _locked_if_free(path) as is_free:
        return is_free


@contextlib.contextmanager
def _locked_if_free(path: str) -> Iterator[bool]:
    """Whether nobody holds an entry, which is held until the end of the block then; one that is gone is not free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield False
        return
    try:
        yield try_lock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)
