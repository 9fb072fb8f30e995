"""A push: an image of the store into a repository of a registry (distribution-spec, "Push").

Here: what the registry has already, what it can take from another of its repositories, and sending the rest; the
manifest last, byte for byte as it is stored. Not here: HTTP, and which images are meant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.errors import RegistryError
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Descriptor, Layer
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.registry.repository import Repository

_SOURCES_TRIED = 3


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
        layers = documents.layers(manifest, self._images.config(image))[::-1]  # Docker's order
        repository.reach()
        for layer in layers:
            tell(_told(layer, "Preparing"))
        blobs = {layer.blob.digest: layer for layer in layers}.values()  # one may be several layers
        works = [partial(self._send, repository, layer, self._sources(layer.blob.digest, reference)) for layer in blobs]
        in_parallel(works, self._at_once, tell, self._give_up)
        if not repository.has_blob(manifest.config.digest):
            self._upload(repository, manifest.config, lambda current: None)
        digest = repository.put_manifest(str(reference.tag), content, image.media_type)
        self._note(image, manifest.layers, reference, digest)
        return f"{reference.tag}: digest: {digest} size: {len(content)}"

    def _sources(self, blob: Digest, reference: Reference) -> tuple[str, ...]:
        """The paths of other repositories of the same registry that were seen to have a blob."""
        known = (source.partition("/") for source in self._state.images.sources(blob))
        return tuple(path for domain, _, path in known if domain == reference.domain and path != reference.path)

    def _send(self, repository: Repository, layer: Layer, sources: tuple[str, ...], tell: Tell) -> None:
        """Have the layer's blob in the repository, from one of the *sources* beside it if possible."""
        if repository.has_blob(layer.blob.digest):
            tell(_told(layer, "Layer already exists"))
            return
        for source in sources[:_SOURCES_TRIED]:
            if _is_mounted(repository, layer, source):
                tell(_told(layer, f"Mounted from {source}"))
                return
        self._upload(repository, layer.blob, lambda current: tell(_moved(layer, "Pushing", current)))
        tell(_told(layer, "Pushed"))

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


def _told(layer: Layer, status: str) -> Progress:
    return Progress(status, layer.diff_id.short)


def _moved(layer: Layer, status: str, current: int) -> Progress:
    """So many of the bytes of its blob are done."""
    return Progress(status, layer.diff_id.short, current, max(1, layer.blob.size))


def _is_mounted(repository: Repository, layer: Layer, source: str) -> bool:
    """Whether the registry takes the blob from its repository *source*; one that may not be read is as good as none."""
    try:
        return repository.mount(layer.blob.digest, source)
    except RegistryError:
        return False
