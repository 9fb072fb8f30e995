"""Loop devices (loop(4)): a file as a block device, which goes away when it is no longer mounted."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct

_CONTROL = "/dev/loop-control"
_LOOP_CONFIGURE = 0x4C0A
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_AUTOCLEAR = 4
_STATUS = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIGURATION = struct.Struct(f"=2I{_STATUS.size}s64x")
_NAME = re.compile(r"loop[0-9]+")
_ATTEMPTS = 100


def is_available() -> bool:
    """Whether this machine makes loop devices for the caller."""
    return os.access(_CONTROL, os.R_OK | os.W_OK)


def attach(image: str) -> int:
    """A descriptor of a block device with the content of the file *image*: the one there is already, else a fresh one.

    It has to be mounted before the descriptor is closed, and lasts until it is unmounted.
    """
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for name in os.listdir("/dev"):
            if _NAME.fullmatch(name) and (device := _opened_if_of(f"/dev/{name}", backing)) is not None:
                return device
        return _attached_to_free(backing, image)
    finally:
        os.close(backing)


def path(device: int) -> str:
    """The name of an open loop device."""
    return f"/dev/loop{os.minor(os.fstat(device).st_rdev)}"


def _opened_if_of(path: str, backing: int) -> int | None:
    """The device at *path*, if its content is the open file *backing*."""
    wanted = os.fstat(backing)
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = _STATUS.unpack(fcntl.ioctl(device, _LOOP_GET_STATUS64, bytes(_STATUS.size)))
        if status[:2] == (wanted.st_dev, wanted.st_ino):
            return device
    except OSError as error:
        if error.errno != errno.ENXIO:
            os.close(device)
            raise
    os.close(device)
    return None


def _attached_to_free(backing: int, image: str) -> int:
    """Another process may take the free device that the kernel names: then it names the next."""
    name = os.fsencode(image)[:63]
    information = _STATUS.pack(0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, name, b"", b"", 0, 0)
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _CONFIGURATION.pack(backing, 0, information))
                return device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free", _CONTROL)
