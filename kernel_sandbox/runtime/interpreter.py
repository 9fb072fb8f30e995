"""The Python from which containers are started, out of reach of what runs in them.

A container's first process is Python until it becomes the user's command, and an image can make the kernel run that
very program again (``#!/proc/self/exe``, CVE-2019-5736). An ordinary user's container is that user outside: a Python
that the user owns could be overwritten from inside, and the machine's own Python by a container of root's that has
root's ids. A sealed copy in memory cannot (memfd_create(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from kernel_sandbox.runtime import ids

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def is_exposed() -> bool:
    """Whether root of one of the caller's containers could change the interpreter's file."""
    if ids.is_privileged():
        return False
    return os.stat(sys.executable).st_uid == os.geteuid() or os.access(sys.executable, os.W_OK)


@contextlib.contextmanager
def sealed() -> Iterator[int]:
    """A descriptor of a copy of the interpreter that nothing can change."""
    descriptor = os.memfd_create("python", os.MFD_ALLOW_SEALING)
    try:
        with open(sys.executable, "rb") as program:
            size = os.fstat(program.fileno()).st_size
            while os.sendfile(descriptor, program.fileno(), None, size):
                continue
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        yield descriptor
    finally:
        os.close(descriptor)
