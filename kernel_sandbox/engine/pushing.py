"""A push: an image of the store into a repository of a registry (distribution-spec, "Push").

Here: what the registry has already, what it can take from another of its repositories, and sending the rest; the
manifest last, byte for byte as it is stored. Not here: HTTP, and which images are meant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.errors import RegistryError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Descriptor
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.registry.repository import Repository

_SHORT_ID = 12
_SOURCES_TRIED = 3


class Layer(msgspec.Struct, frozen=True):
    """A layer to be sent: its blob, the digest of its archive, and the repositories beside that may have it."""

    blob: Descriptor
    diff_id: Digest
    sources: tuple[str, ...]

    def told(self, status: str) -> Progress:
        return Progress(status, self.diff_id.hex[:_SHORT_ID])

    def moved(self, status: str, current: int) -> Progress:
        """So many of its bytes are done."""
        return Progress(status, self.diff_id.hex[:_SHORT_ID], current, max(1, self.blob.size))


class Pusher:
    """Pushes images of one store, with so many uploads *at_once*; *give_up* ends those that are under way."""

    def __init__(self, state: State, images: Images, at_once: int, give_up: Callable[[], None]) -> None:
        self._state = state
        self._images = images
        self._layout = images.layout
        self._at_once = at_once
        self._give_up = give_up

    def push(self, repository: Repository, image: Image, reference: Reference, tell: Tell) -> str:
        """Give the registry the image as *reference*; *tell* hears Docker's lines, of which the last is returned.

        Raises RegistryError.
        """
        content = self._layout.read(image.manifest)
        manifest = self._images.manifest(image)
        layers = self._layers(image, manifest.layers, reference)
        for layer in layers:
            tell(layer.told("Preparing"))
        in_parallel([partial(self._send, repository, layer) for layer in layers], self._at_once, tell, self._give_up)
        if not repository.has_blob(manifest.config.digest):
            self._upload(repository, manifest.config, lambda current: None)
        digest = repository.put_manifest(str(reference.tag), content, image.media_type)
        self._note(image, manifest.layers, reference, digest)
        return f"{reference.tag}: digest: {digest} size: {len(content)}"

    def _layers(self, image: Image, blobs: tuple[Descriptor, ...], reference: Reference) -> tuple[Layer, ...]:
        """The layers in Docker's order, topmost first."""
        diff_ids = self._images.config(image).rootfs.diff_ids
        return tuple(
            Layer(blob, diff_id, self._sources(blob.digest, reference))
            for blob, diff_id in reversed(tuple(zip(blobs, diff_ids, strict=True)))
        )

    def _sources(self, blob: Digest, reference: Reference) -> tuple[str, ...]:
        """The paths of other repositories of the same registry that were seen to have a blob."""
        known = (source.partition("/") for source in self._state.images.sources(blob))
        return tuple(path for domain, _, path in known if domain == reference.domain and path != reference.path)

    def _send(self, repository: Repository, layer: Layer, tell: Tell) -> None:
        if repository.has_blob(layer.blob.digest):
            tell(layer.told("Layer already exists"))
            return
        for source in layer.sources[:_SOURCES_TRIED]:
            if _is_mounted(repository, layer, source):
                tell(layer.told(f"Mounted from {source}"))
                return
        self._upload(repository, layer.blob, lambda current: tell(layer.moved("Pushing", current)))
        tell(layer.told("Pushed"))

    def _upload(self, repository: Repository, blob: Descriptor, moved: Callable[[int], None]) -> None:
        path = self._layout.blob_path(blob.digest)

        def open_at(offset: int) -> BinaryIO:
            with store_errors(path):
                file = open(path, "rb", buffering=0)  # noqa: SIM115 (whoever sends it closes it)
            file.seek(offset)
            return file

        repository.upload(blob.digest, blob.size, open_at, moved)

    def _note(self, image: Image, layers: tuple[Descriptor, ...], reference: Reference, digest: Digest) -> None:
        """Remember by which name the registry has the image, and that it has its layers."""
        self._state.images.add_digest(image.id, f"{reference.name}@{digest}")
        for layer in layers:
            self._state.images.note_source(layer.digest, reference.name)


def _is_mounted(repository: Repository, layer: Layer, source: str) -> bool:
    """Whether the registry takes the blob from its repository *source*; one that may not be read is as good as none."""
    try:
        return repository.mount(layer.blob.digest, source)
    except RegistryError:
        return False
