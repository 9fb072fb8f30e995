"""Where ``cp`` reads and where it writes: a path below some root, found the way Docker finds it.

The root is a container's, of which nothing leads out (openat2(2), RESOLVE_IN_ROOT), or the caller's own. What is found
is held by a descriptor. What does not belong here: the archives between the two (``pack``, ``transfer``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.spec import copying
from kernel_sandbox.spec.copying import Path
from kernel_sandbox.storage.tree import unless_gone

INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_HANDLE = os.O_PATH | os.O_CLOEXEC
_MAX_LINKS = 40
_ATTEMPTS = 64


class Found(msgspec.Struct, frozen=True):
    """Where a copy may go: what is there, behind every link; ``status`` is None where there is nothing."""

    path: Path
    status: os.stat_result | None

    @property
    def is_directory(self) -> bool:
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    @property
    def is_device(self) -> bool:
        return self.status is not None and (stat.S_ISBLK(self.status.st_mode) or stat.S_ISCHR(self.status.st_mode))

    def split(self, source_is_directory: bool) -> tuple[str, str | None]:
        """The directory that the copy is made in, and its new name. Raises SandboxError where it cannot go there."""
        exists, wants_directory = self.status is not None, self.path.is_directory
        if copying.takes_new_name(source_is_directory, exists, self.is_directory, wants_directory):
            return self.path.parent, self.path.name
        return self.path.text, None


class Root(msgspec.Struct, frozen=True):
    """A root to look from: its descriptor, RESOLVE_* of openat2(2), and what to say of a path that is not there."""

    fd: int
    resolve: int
    missing: Callable[[str], SandboxError]

    @contextmanager
    def opened(self, path: str, flags: int = 0) -> Iterator[int]:
        """A handle (O_PATH) of what *path* leads to. Raises SandboxError."""
        fd = self._handle(path, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _handle(self, path: str, flags: int = 0) -> int:
        try:
            return self._open(path, flags)
        except FileNotFoundError as error:
            raise self.missing(path) from error
        except OSError as error:
            raise SandboxError(f"lstat {path}: {(error.strerror or str(error)).lower()}") from error

    def _open(self, path: str, flags: int) -> int:
        for _ in range(_ATTEMPTS):
            try:
                return syscalls.openat2(self.fd, path, _HANDLE | flags, resolve=self.resolve)
            except BlockingIOError:  # a rename somewhere on the machine while ".." was resolved
                continue
        raise SandboxError(f"lstat {path}: its directories are being moved, try again")

    @contextmanager
    def source(self, path: Path, follows_link: bool, keeps_name: bool = True) -> Iterator[tuple[int, bytes]]:
        """A handle of what is to be copied, and the name under which it is archived. Raises SandboxError.

        A link is copied as one, unless *follows_link*; then the copy has the link's own name if it *keeps_name*.
        """
        if path.is_directory:
            with self.opened(path.text) as fd:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    raise SandboxError(f"lstat {path.text}/: not a directory")
                yield fd, os.fsencode(path.name)
            return
        with self.opened(path.parent, os.O_DIRECTORY) as parent:
            fd = self._last(path, parent, follows_link)
        try:
            is_new = follows_link and not keeps_name
            yield fd, os.fsencode(Path(self._real(fd)).name if is_new else path.name)
        finally:
            os.close(fd)

    def _last(self, path: Path, parent: int, follows_link: bool) -> int:
        if follows_link or path.text == "/":
            return self._handle(path.text)
        try:
            return os.open(path.name, _HANDLE | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError as error:
            raise self.missing(path.text) from error

    def destination(self, path: Path) -> Found:
        """What is where a copy is to go. A link is followed, also one to what is not there yet."""
        flags = os.O_DIRECTORY if path.is_directory else 0
        for _ in range(_MAX_LINKS):
            with unless_gone():
                fd = self._open(path.text, flags)
                try:
                    return Found(Path(self._real(fd), path.is_directory), os.fstat(fd))
                finally:
                    os.close(fd)
            target = "" if path.is_directory else self._link(path)
            if not target:
                return Found(path, None)
            path = copying.parse_path(target, path.parent)
        raise SandboxError(f"too many symlinks in {path.text}")

    def _link(self, path: Path) -> str:
        """Where the symbolic link at *path* leads; empty where there is none."""
        with unless_gone():
            parent = self._open(path.parent, os.O_DIRECTORY)
            try:
                if stat.S_ISLNK(os.lstat(path.name, dir_fd=parent).st_mode):
                    return os.readlink(path.name, dir_fd=parent)
            finally:
                os.close(parent)
        return ""

    def _real(self, fd: int) -> str:
        """The path of what a descriptor holds, as seen from this root."""
        own = os.readlink(f"/proc/self/fd/{self.fd}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(own) or "/"
