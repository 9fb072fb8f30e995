"""A directory that is an image layout of another tool's (image-spec image-layout.md), read like an archive.

It is hostile like one: its files are resolved beneath it, and only regular ones are opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from kernel_sandbox.spec.image import MAX_DOCUMENT, Descriptor
from kernel_sandbox.storage.archives.members import copy, missing, missized
from kernel_sandbox.storage.layout import ImageLayout, blob_name

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_BENEATH = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


class DirectoryMembers:
    """The files below the open *directory*. ``layout`` is where blobs are stored."""

    def __init__(self, layout: ImageLayout, directory: int) -> None:
        self.layout = layout
        self._directory = directory

    def has(self, name: str) -> bool:
        """Whether there is such a regular file."""
        try:
            with self._opened(name):
                return True
        except CorruptContent:
            return False

    def document(self, name: str) -> bytes:
        """A file that is a document. Raises CorruptContent where there is none."""
        with self._opened(name) as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise CorruptContent(f"{name} is larger than {MAX_DOCUMENT} bytes: it is no document")
        return data

    def blob(self, described: Descriptor) -> None:
        """Have the layout hold a blob. Raises CorruptContent, before anything is copied where its size is wrong."""
        if self.layout.has(described.digest):
            return
        with self._opened(blob_name(described.digest)) as file:
            size = os.fstat(file.fileno()).st_size
            if size != described.size:
                raise missized(described, size)
            copy(self.layout, file, described.digest)

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        try:
            descriptor = openat2(self._directory, name, _FILE, resolve=_BENEATH)
        except OSError:
            raise missing(name) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise missing(name)
        with open(descriptor, "rb") as file:
            yield file
