"""Tells whether the inputs of a root filesystem have changed, without reading them."""

import hashlib
import os

from kernel_sandbox.bootstrap.rootfs import Bytecode, Copy, Rootfs
from kernel_sandbox.errors import HostError


def fingerprint(rootfs: Rootfs) -> str:
    """A digest, in hexadecimal, of the plan, the code that carries it out, and each source's size and time of change.

    Equal fingerprints mean an equal archive. Raises HostError if a source is gone.
    """
    digest = hashlib.sha256(repr(os.environ.get("SOURCE_DATE_EPOCH")).encode())
    digest.update(_code())
    digest.update(repr((rootfs.reference, rootfs.env, rootfs.cmd, rootfs.working_dir, rootfs.labels)).encode())
    for entry in rootfs.entries:
        digest.update(repr(entry).encode("utf-8", "backslashreplace"))
        if isinstance(entry, Copy | Bytecode):
            digest.update(_state(entry.source))
    return digest.hexdigest()


def _code() -> bytes:
    """This package's source: a newer one may write the same plan in another way."""
    directory = os.path.dirname(__file__)
    digest = hashlib.sha256()
    for name in sorted(os.listdir(directory)):
        if name.endswith(".py"):
            with open(os.path.join(directory, name), "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _state(path: str) -> bytes:
    try:
        found = os.stat(path)
    except OSError as error:
        raise HostError(f"cannot read {path} for the base image: {error.strerror}") from error
    return f"{found.st_size} {found.st_mtime_ns} {found.st_mode}".encode()
