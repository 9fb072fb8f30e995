"""Writes a planned root filesystem as a tar archive, the same bytes for the same inputs.

Uncompressed, in the pax format (POSIX.1-2001): the form of an image layer before compression (image-spec, layer.md).
"""

import io
import os
import stat
import tarfile
from contextlib import closing
from typing import BinaryIO

from kernel_sandbox.bootstrap.bytecode import compiled
from kernel_sandbox.bootstrap.rootfs import Bytecode, Copy, Directory, Rootfs, Symlink, Text
from kernel_sandbox.errors import HostError

EPOCH = 315532800
"""1980-01-01, the earliest time that a zip file can hold: wheels must be buildable from these files."""


def write(rootfs: Rootfs, out: BinaryIO) -> None:
    """Write the archive to ``out``; owners are 0:0 and every time is SOURCE_DATE_EPOCH, or EPOCH where it is not set.

    Raises HostError if a file of the machine cannot be read.
    """
    mtime = epoch()
    modules = [entry for entry in rootfs.entries if isinstance(entry, Bytecode)]
    with (
        closing(compiled(modules, mtime)) as bytecode,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in rootfs.entries:
            info = tarfile.TarInfo(entry.path)
            info.mtime = mtime
            content = b""
            match entry:
                case Directory():
                    info.type, info.mode = tarfile.DIRTYPE, entry.mode
                case Symlink():
                    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
                case Text():
                    info.mode, content = entry.mode, entry.content
                case Copy():
                    info.mode, content = _read(entry.source)
                case Bytecode():
                    info.mode, content = 0o644, next(bytecode)
                    if not content:
                        continue
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def epoch() -> int:
    """The time that everything in an image is given, in seconds since 1970."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(epoch) if epoch.isascii() and epoch.isdigit() else EPOCH


def _read(path: str) -> tuple[int, bytes]:
    """Mode and content; the mode is normalised to what its executable bit says."""
    try:
        with open(path, "rb") as file:
            executable = os.fstat(file.fileno()).st_mode & stat.S_IXUSR
            return (0o755 if executable else 0o644), file.read()
    except OSError as error:
        raise HostError(f"cannot read {path} for the base image: {error.strerror}") from error
