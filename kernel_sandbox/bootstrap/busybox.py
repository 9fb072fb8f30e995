"""Busybox: which applets a binary holds, and where to get a static one.

A binary is read, never executed. What goes into a root filesystem around it is decided in `tools` and `plan`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from kernel_sandbox.bootstrap import deb
from kernel_sandbox.errors import CorruptContent, HostError
from kernel_sandbox.spec import elf

MAX_SIZE = 32 << 20
"""Bytes; a busybox has one or two million."""

_APPLET_NAMES = re.compile(rb"\0((?:[a-z0-9_.+\[-]{1,32}\0){8,1024})\0")
_DOWNLOAD_SECONDS = 120
_MEMBERS = ("bin/busybox", "usr/bin/busybox")


def applets(binary: bytes) -> tuple[str, ...]:
    """The names a busybox answers to, sorted: its table of them is one run of strings in order, closed by an empty one.

    Raises CorruptContent if the binary holds no such table.
    """
    for match in _APPLET_NAMES.finditer(binary):
        names = match.group(1).split(b"\0")[:-1]
        # Whatever string comes before the table in the file may have the form of a name.
        for start in range(min(len(names), 64)):
            table = names[start:]
            if b"busybox" in table and table == sorted(set(table)):
                return tuple(name.decode() for name in table)
    raise CorruptContent("the binary is no busybox: it holds no table of applets")


def static_binary() -> bytes:
    """A static busybox: the one on the PATH, else out of the distribution's package, which is not installed.

    Raises HostError if there is none to be had.
    """
    path = shutil.which("busybox")
    content = _read(path) if path else b""
    return content if is_static(content) else _from_package()


def fingerprint() -> str:
    """Tells the busybox that ``static_binary`` gives from another, without fetching a package."""
    path = shutil.which("busybox")
    content = _read(path) if path else b""
    return hashlib.sha256(content).hexdigest() if is_static(content) else "package"


def is_static(binary: bytes) -> bool:
    """Whether the binary is an ELF program that needs no loader and no library."""
    try:
        return elf.parse(memoryview(binary)).is_static
    except CorruptContent:
        return False


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SIZE)
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error


def _from_package() -> bytes:
    advice = "no static busybox here: run `apt-get install busybox-static`, or put one on the PATH"
    apt = shutil.which("apt-get")
    if not apt:
        raise HostError(advice)
    with tempfile.TemporaryDirectory(prefix="kernel-sandbox-") as directory:
        try:
            subprocess.run(
                (apt, "download", "-qq", "busybox-static"),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_DOWNLOAD_SECONDS,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise HostError(advice) from error
        for name in os.listdir(directory):
            if name.endswith(".deb"):
                with open(os.path.join(directory, name), "rb") as package:
                    return deb.member(package.read(MAX_SIZE), _MEMBERS, MAX_SIZE)
    raise HostError(advice)
