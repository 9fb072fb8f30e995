"""A file that appears whole or not at all, wherever the user wants it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from kernel_sandbox.errors import SandboxError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link directly",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFCHR: "a character device file",
    stat.S_IFBLK: "a block device file",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def downloaded(path: str) -> Iterator[int]:
    """A descriptor whose content becomes the file *path* when all went well.

    Raises SandboxError, also for what is there and is no regular file, as Docker does.
    """
    _check_target(path)
    half = os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}")
    with _explained(path):
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        with _explained(path):
            os.fsync(descriptor)
            os.rename(half, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        raise
    finally:
        os.close(descriptor)


def _check_target(path: str) -> None:
    with contextlib.suppress(OSError):
        kind = stat.S_IFMT(os.lstat(path).st_mode)
        if kind in _KINDS:
            raise SandboxError(f"cannot write to {_KINDS[kind]}: {path}")


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
