"""The job that takes archives of images in: read, digested and compressed in a process of its own."""

from __future__ import annotations

import os
import select
import stat

from kernel_sandbox.engine.job import job
from kernel_sandbox.engine.tasks import FoundImage, Load
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.image import platform_of_machine
from kernel_sandbox.storage.archives.directory import DirectoryMembers
from kernel_sandbox.storage.archives.members import ArchiveMembers
from kernel_sandbox.storage.archives.reading import Found, read_archive, read_layout
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging


@job(Load, adds=True)
def load(task: Load, descriptors: tuple[int, ...]) -> tuple[FoundImage, ...]:
    """Store the images of the archive, or of the directory, that is the second descriptor."""
    reply, source = descriptors[:2]
    layout = ImageLayout(task.paths.oci, Staging(task.paths.staging))
    machine = platform_of_machine(os.uname().machine)
    wanted = platforms.parse(task.platform, machine) if task.platform else None
    if stat.S_ISDIR(os.fstat(source).st_mode):
        found = read_layout(DirectoryMembers(layout, source), wanted, machine)
    else:
        members = ArchiveMembers(layout)
        members.read(open_compressed(_Attended(source, reply)))  # type: ignore[arg-type]
        found = read_archive(members, wanted, machine)
    return tuple(map(_result, found))


def _result(image: Found) -> FoundImage:
    return FoundImage(image.manifest, image.names, image.compressed)


class _Attended:
    """What is read from a descriptor for as long as the client is there: a pipe may come to no end."""

    def __init__(self, source: int, client: int) -> None:
        self._source = source
        self._client = client
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN)
        self._poll.register(client, select.POLLRDHUP)

    def read(self, size: int, /) -> bytes:
        if any(descriptor == self._client for descriptor, _ in self._poll.poll()):
            raise SandboxError("interrupted")
        return os.read(self._source, size)
