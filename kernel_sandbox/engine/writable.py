"""The place for what a container writes: a directory of the store, or with a quota a filesystem of its own there."""

from __future__ import annotations

import os

from kernel_sandbox.engine.paths import ContainerPaths
from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime import ids
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage import quota
from kernel_sandbox.storage.ownership import Ownership


def check(wanted: ContainerOptions) -> None:
    """Whether this caller on this machine can keep the quota, if one is wanted. Raises UsageError, HostError."""
    if wanted.storage_size is None:
        return
    if not ids.is_privileged():
        raise HostError(
            "cannot limit a container's storage: mounting a filesystem of a fixed size needs root of this machine: "
            "leave --storage-opt out, or run as root"
        )
    quota.check(wanted.storage_size)


def ensure(files: ContainerPaths, size: int | None) -> None:
    """Have what the container has written in its place, after a reboot too; whoever reads or adds to it calls this.

    *size* is the quota in bytes, None for none. Raises HostError, OSError.
    """
    if size is not None and ids.is_privileged():
        os.makedirs(files.home, mode=0o700, exist_ok=True)
        quota.ensure(files.writable, files.image, size)


def release(files: ContainerPaths, options: ContainerOptions) -> None:
    """Let go of the place, before it is removed."""
    if options.storage_size is not None and ids.is_privileged():
        quota.release(files.writable)


def ownership() -> Ownership:
    """How owners are kept in the store's files: as they are, or beside them where the caller has a single id."""
    several = ids.is_privileged() or sum(extent.size for extent in ids.store_maps().uid) > 1
    return Ownership.REAL if several else Ownership.SINGLE
