"""A file that appears whole or not at all, wherever the user wants it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from kernel_sandbox.errors import SandboxError


@contextlib.contextmanager
def downloaded(path: str) -> Iterator[int]:
    """A descriptor whose content becomes the file *path* when all went well. Raises SandboxError.

    What is there and is no regular file (a pipe, a device) is written to directly.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with _explained(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    with _explained(path):
        descriptor, half = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path) or ".")
    try:
        yield descriptor
        with _explained(path):
            os.fchmod(descriptor, 0o600)
            os.fsync(descriptor)
            os.rename(half, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
