"""The caller's side of ``cp``: the files of this machine, with the caller's own rights.

Between it and the container's side (``copy_jobs``) there is nothing but an archive in a pipe; which of its names go
where is decided on the side where they are made. What comes from a container is never trusted to stay where it
belongs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from kernel_sandbox.engine import tasks
from kernel_sandbox.errors import CorruptContent, NotFound, SandboxError
from kernel_sandbox.runtime.launcher import Call, Launcher
from kernel_sandbox.spec import copying
from kernel_sandbox.storage import pack, places, tar, transfer
from kernel_sandbox.storage.ownership import Ownership

_PIPE = 1 << 20


class _Counted:
    """A pipe's end, and how many bytes went through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return self._file.write(data)


def to_host(launcher: Launcher, task: tasks.CopyOut, target: str, keeps_owners: bool) -> int:
    """Make files of this machine's of what a container has; returns the bytes of the archive that they came in.

    Raises NotFound, SandboxError.
    """
    path = copying.parse_path(target, os.getcwd())
    _check_output(path)
    owners = transfer.Owners.ARCHIVE if keeps_owners else transfer.Owners.CALLER
    with contextlib.ExitStack() as stack:

        def choose(first: tar.Entry) -> transfer.Destination:
            root = stack.enter_context(_own_root())
            directory, name = _found(root, path).split(first.kind is tar.Kind.DIRECTORY)
            place = stack.enter_context(root.opened(directory, os.O_DIRECTORY))
            return transfer.Destination(place, name=name, shown=directory)

        reader, writer = _pipe()
        archive = _Counted(stack.enter_context(open(reader, "rb", buffering=_PIPE)))
        with open(writer, "wb"):
            started = stack.enter_context(Call(launcher, "copy_out", tasks.encode(task), (writer,)))
        try:
            transfer.unpack_tree(archive, choose, owners)
        except CorruptContent:
            started.result()  # why the archive is cut short
            raise
        started.result()
        return archive.count


def check_source(source: str, follows_link: bool) -> None:
    """What can be told before there is a container to copy to. Raises NotFound, SandboxError."""
    with _own_root() as root, root.source(copying.parse_path(source, os.getcwd()), follows_link) as (fd, _):
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise SandboxError(f"cannot copy {source}: it is a socket")


def from_host(launcher: Launcher, task: tasks.CopyIn, source: str, follows_link: bool) -> int:
    """Copy files of this machine's into a container; returns the bytes of the archive that they went in.

    Raises NotFound, SandboxError.
    """
    path = copying.parse_path(source, os.getcwd())
    with _own_root() as root, root.source(path, follows_link) as (fd, name):
        reader, writer = _pipe()
        with open(reader, "rb"):
            started = Call(launcher, "copy_in", tasks.encode(task), (reader,))
        with started:
            with contextlib.suppress(BrokenPipeError), open(writer, "wb", buffering=_PIPE) as file:
                archive = _Counted(file)
                _pack(fd, name, archive)
            started.result()
            return archive.count


def _pack(fd: int, name: bytes, archive: tar.Sink) -> None:
    try:
        pack.pack_tree(fd, name, archive, Ownership.REAL, keeps_holes=True)
    except PermissionError as error:
        what = os.fsdecode(error.filename or name)
        raise SandboxError(f"cannot read {what}: {(error.strerror or '').lower()}") from error


@contextlib.contextmanager
def _own_root() -> Iterator[places.Root]:
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield places.Root(fd, 0, lambda path: NotFound(f"lstat {path}: no such file or directory"))
    finally:
        os.close(fd)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # more than a user may have
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE)
    return reader, writer


def _check_output(path: copying.Path) -> None:
    """What can be told before anything is copied. Raises SandboxError."""
    parent = os.path.dirname(path.text)
    if not os.path.exists(parent):
        raise SandboxError(f'invalid output path: directory "{parent}" does not exist')
    with _own_root() as root:
        if root.destination(path).is_device:
            raise SandboxError(
                f'invalid output path: "{path.text}" must be a directory or a regular file: got a device'
            )


def _found(root: places.Root, path: copying.Path) -> places.Found:
    found = root.destination(path)
    if found.status is None and path.is_directory and os.path.exists(path.text):
        raise SandboxError(f"lstat {path.text}/: not a directory")
    return found
