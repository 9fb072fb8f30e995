"""What a client asks of a job, and what it gets: the values that cross between their processes.

Light on purpose: the command line imports this, and the jobs themselves only in the process that does them.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.spec.runtime import ConsoleSize

HELPER = "kernel_sandbox.engine.helper"
"""The program that does jobs, where they are not done in forks of the client."""


class NewLayer(msgspec.Struct, frozen=True):
    """A layer that has been stored: its compressed blob, the digest of its archive, the bytes it unpacks to."""

    blob: str
    blob_size: int
    diff_id: str
    size: int


class NewBase(msgspec.Struct, frozen=True):
    """The layer of an embedded image, and what the image says of itself; *created* in nanoseconds."""

    layer: NewLayer
    env: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    labels: tuple[tuple[str, str], ...]
    created: int


class InStore(msgspec.Struct, frozen=True):
    """The store a job works in."""

    home: str
    run: str

    @property
    def paths(self) -> Paths:
        return Paths(self.home, self.run)


class Unpack(InStore, frozen=True):
    """Unpack the layer in *blob*, whose archive must have this *diff_id*, as *chain_id*.

    One that *is_trusted* was compressed here, or has been unpacked before: it may become as large as it likes.
    """

    blob: str
    diff_id: str
    chain_id: str
    is_trusted: bool = False


class Load(InStore, frozen=True):
    """Store the images of an archive or a directory; of each that suit this *platform*, empty for the machine's."""

    platform: str


class Unpacked(msgspec.Struct, frozen=True):
    """A layer that is unpacked: the bytes of its files, and of its archive."""

    size: int
    length: int


class FoundImage(msgspec.Struct, frozen=True):
    """An image that has been stored, by its manifest, what it is called where it was found, and its layers that came
    uncompressed."""

    manifest: str
    names: tuple[str, ...]
    compressed: tuple[str, ...] = ()


class PackDiff(InStore, frozen=True):
    """Store what the container has changed as a layer; whether it was ever started, and its quota in bytes."""

    container: str
    was_started: bool
    storage_size: int | None


class PackRootfs(PackDiff, frozen=True):
    """Write what the container has changed over the merged *layers*, topmost first, to the second descriptor."""

    layers: tuple[str, ...]


class Bootstrap(InStore, frozen=True):
    """Store the root filesystem of an embedded image, ``python`` or ``busybox``."""

    kind: str


class Trees(InStore, frozen=True):
    """Remove or measure these trees of the store."""

    trees: tuple[str, ...]


class OneContainer(InStore, frozen=True):
    """Something about one container."""

    container: str


class Removal(OneContainer, frozen=True):
    """Remove one container; with *volumes*, its anonymous volumes too."""

    volumes: bool


class PartOfContainer(OneContainer, frozen=True):
    """Something about a path in one container, whose image has these *layers*, topmost first.

    ``key`` is what the user calls the container.
    """

    key: str
    layers: tuple[str, ...]
    path: bytes


class CopyOut(PartOfContainer, frozen=True):
    """Pack what *path* leads to into the second descriptor, as a *stream* for the user or for ``cp``'s other end."""

    follows_link: bool
    is_stream: bool


class CopyIn(PartOfContainer, frozen=True):
    """Unpack the second descriptor's archive at *path*: the user's own *stream*, or one of ``cp``'s other end."""

    keeps_owners: bool
    is_stream: bool


class Diff(PackDiff, frozen=True):
    """Compare what the container has written with its image's *layers*, topmost first."""

    layers: tuple[str, ...]


def encode(value: object) -> bytes:
    """A job's argument or result as bytes; digests are strings in it."""
    return msgspec.msgpack.encode(value, enc_hook=str)


class Supervision(msgspec.Struct, frozen=True):
    """What to supervise. A *foreground* container ends when the client that asked for it goes away.

    ``console`` is the size of the terminal that the client has.
    """

    home: str
    run: str
    container: str
    foreground: bool
    console: ConsoleSize | None = None
