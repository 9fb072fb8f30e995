"""A directory that cannot grow beyond a size: an ext4 filesystem in a sparse file, mounted there.

For root alone. The file takes what is written, not the size; what is deleted inside goes back to the host (discard).
Nothing lasts but the file: after a reboot, or where another mount namespace is in use, it is mounted again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from kernel_sandbox.errors import HostError, UsageError
from kernel_sandbox.linux import loop, syscalls

MINIMUM = 16 << 20
_PROGRAM = "mkfs.ext4"
_FEATURES = ("-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-m", "0")
_LOCKED = 0o600


def check(size: int) -> None:
    """Raises UsageError for a size that holds no filesystem, HostError where this machine cannot make one."""
    if size < MINIMUM:
        raise UsageError(f"the storage size of a container is at least {MINIMUM >> 20}m")
    import shutil

    if shutil.which(_PROGRAM) is None:
        raise HostError(f"cannot limit a container's storage: {_PROGRAM} is missing, install e2fsprogs")
    if not loop.is_available():
        raise HostError("cannot limit a container's storage: there are no loop devices, load the kernel's loop module")


def ensure(directory: str, image: str, size: int) -> None:
    """Have the filesystem in the file *image* mounted at *directory*, both made where they are missing.

    Raises HostError, OSError.
    """
    os.makedirs(directory, exist_ok=True)
    below = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(below, fcntl.LOCK_EX)
        if not _is_mount_point(directory):
            _mount(directory, image, size)
    finally:
        os.close(below)


def _mount(directory: str, image: str, size: int) -> None:
    if not os.path.exists(image):
        _make(image, size)
    device = loop.attach(image)
    try:
        syscalls.mount(loop.path(device), directory, "ext4", syscalls.MS_NODEV | syscalls.MS_NOSUID, "discard")
    finally:
        os.close(device)


def release(directory: str) -> None:
    """Unmount what is mounted at *directory*, if anything is; its loop device goes with it."""
    while _is_mount_point(directory):
        syscalls.umount2(directory, syscalls.MNT_DETACH)


def _is_mount_point(directory: str) -> bool:
    """Whether something of another filesystem is mounted there."""
    try:
        return os.lstat(directory).st_dev != os.lstat(os.path.dirname(directory)).st_dev
    except FileNotFoundError:
        return False


def _make(image: str, size: int) -> None:
    """The file gets its name when the filesystem in it is whole."""
    half = f"{image}.half"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(half)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _LOCKED)
    try:
        os.truncate(descriptor, size)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise UsageError(
                f"a storage size of {size} bytes is more than the store's filesystem has files for"
            ) from error
        raise
    finally:
        os.close(descriptor)
    _format(half)
    os.rename(half, image)


def _format(path: str) -> None:
    with open(os.devnull, "rb") as nothing:
        quiet = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)]
        arguments = [_PROGRAM, "-q", "-F", *_FEATURES, path]
        child = os.posix_spawnp(_PROGRAM, arguments, os.environ, file_actions=quiet)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise HostError(f"cannot limit a container's storage: {_PROGRAM} {path} ended with {status}, run it to see why")
