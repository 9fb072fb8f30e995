"""Pseudo-terminals of containers (pty(7), devpts): made in the container's own devpts, held by its monitor."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.spec.runtime import ConsoleSize

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PTMX = os.makedev(5, 2)


def open_pair(ptmx: int) -> tuple[int, int]:
    """Both ends of a terminal, ours first, from a descriptor of a devpts' ``ptmx``."""
    fcntl.ioctl(ptmx, _TIOCSPTLCK, struct.pack("i", 0))
    peer = fcntl.ioctl(ptmx, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return ptmx, peer


def take(terminal: int) -> None:
    """Make it the calling session leader's controlling terminal."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def resize(terminal: int, size: ConsoleSize) -> None:
    """Tell the terminal its size; its foreground processes get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", size.height, size.width, 0, 0))


def check(terminal: int) -> None:
    """A descriptor from inside a container is used as a terminal's end only if the kernel says that it is one."""
    status = os.fstat(terminal)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        raise ContainerStartError("cannot make a terminal: /dev/ptmx in the container is not the kernel's")
