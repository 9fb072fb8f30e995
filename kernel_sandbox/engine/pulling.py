"""A pull: from a reference in a registry to an image in the store (distribution-spec, "Pull").

Here: which manifest is meant, what of it is missing, and having that fetched and unpacked. Nothing that a registry says
is believed: everything has the size and the digest of its descriptor. Not here: HTTP, and what is printed at the end.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.digest import Digest, chain_ids
from kernel_sandbox.spec.image import Descriptor, Manifest, Platform
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.registry.repository import Fetched, Repository

_OLD_FORMAT = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN = ("foreign", "nondistributable")
_LAYER_TYPES = (
    documents.OCI_LAYER, documents.OCI_LAYER_GZIP, documents.OCI_LAYER_ZSTD, documents.DOCKER_LAYER,
    documents.DOCKER_LAYER_GZIP, "application/vnd.docker.image.rootfs.diff.tar.zstd",
)  # fmt: skip
_SHORT_ID = 12
_UNPACKED_AT_ONCE = 2
_DEEPEST = 1  # indexes below an index


class Pulled(msgspec.Struct, frozen=True):
    """An image that is here, and whether its name meant another one before, or none."""

    image: Image
    is_newer: bool


class Layer(msgspec.Struct, frozen=True):
    """A layer to be had: what names its blob, the digest of its archive, and the chain that it ends."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest

    def told(self, status: str) -> Progress:
        return Progress(status, self.blob.digest.hex[:_SHORT_ID])

    def moved(self, status: str, current: int) -> Progress:
        """So many of its bytes are done."""
        return Progress(status, self.blob.digest.hex[:_SHORT_ID], current, max(1, self.blob.size))


class Puller:
    """Pulls into one store what suits a *platform*; with so many downloads *at_once*.

    *give_up* ends the downloads that are under way.
    """

    def __init__(
        self,
        paths: Paths,
        state: State,
        images: Images,
        platform: Platform,
        at_once: int,
        give_up: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._state = state
        self._images = images
        self._layout = images.layout
        self._platform = platform
        self._downloads = threading.Semaphore(at_once)
        self._unpackings = threading.Semaphore(_UNPACKED_AT_ONCE)
        self._at_once = at_once + _UNPACKED_AT_ONCE
        self._give_up = give_up

    def pull(self, repository: Repository, reference: Reference, tell: Tell) -> Pulled:
        """Have the image that *reference* means in the store, under that name; *tell* hears Docker's lines.

        Raises NotFound, RegistryError, and CorruptContent where the registry's content is wrong.
        """
        asked = f"{reference.familiar_name}@{reference.digest}" if reference.digest else str(reference.tag)
        served = repository.manifest(reference.digest or str(reference.tag))
        tell(Progress(f"Pulling from {reference.path}", asked))
        tag = str(reference) if reference.tag and not reference.digest else ""
        digest = f"{reference.name}@{served.digest}"
        before = self._state.images.by_name(tag or digest)
        with self._explained(reference):
            found = self._resolved(repository, served)
            manifest = documents.decode(Manifest, found.content)
            _check(manifest)
            image = self._have(repository, found.content, manifest, (tag,) if tag else (), digest, tell)
        for layer in manifest.layers:
            self._state.images.note_source(layer.digest, reference.name)
        tell(Progress(f"Digest: {served.digest}"))
        return Pulled(image, before is None or before.id != image.id)

    @contextlib.contextmanager
    def _explained(self, reference: Reference) -> Iterator[None]:
        try:
            yield
        except CorruptContent as error:
            raise CorruptContent(f"cannot pull {reference.familiar()}: {error}") from error

    def _have(
        self,
        repository: Repository,
        content: bytes,
        manifest: Manifest,
        tags: tuple[str, ...],
        digest: str,
        tell: Tell,
    ) -> Image:
        """The image of a *manifest*, recorded under these names; of what is missing of it, fetched and unpacked."""
        with self._images.adding():
            if known := self._state.images.by_id(manifest.config.digest.hex):
                self._state.images.add(msgspec.structs.replace(known[0], tags=tags, digests=(digest,)))
                self._images.write_index()
                return known[0]
            stored = self._layout.put(content)
            config = self._config(repository, manifest)
            sizes = self._add_layers(repository, _layers(manifest, config), tell)
            return self._images.record(stored, tags, (digest,), sizes)

    def _config(self, repository: Repository, manifest: Manifest) -> documents.ImageConfig:
        if not self._layout.has(manifest.config.digest):
            self._fetch(repository, manifest.config, lambda current: None)
        config = documents.decode(documents.ImageConfig, self._layout.read(manifest.config.digest))
        documents.check_layers(manifest, config)
        return config

    def _resolved(self, repository: Repository, served: Fetched, depth: int = 0) -> Fetched:
        """The image's manifest, chosen from what was served where that is an index."""
        media_type = _media_type(served)
        if media_type in documents.MANIFEST_TYPES:
            return served
        if media_type.startswith(_OLD_FORMAT):
            raise CorruptContent("it has Docker's old format (manifest schema 1): push it again with a newer Docker")
        if media_type not in documents.INDEX_TYPES:
            raise CorruptContent(f"unsupported media type {media_type[:100]}")
        if depth > _DEEPEST:
            raise CorruptContent("indexes lie in each other, too deep to look into")
        entry = platforms.choose(documents.decode(documents.Index, served.content).manifests, self._platform)
        chosen = repository.manifest(entry.digest)
        if len(chosen.content) != entry.size:
            raise _missized(entry, len(chosen.content))
        return self._resolved(repository, chosen, depth + 1)

    def _add_layers(self, repository: Repository, layers: tuple[Layer, ...], tell: Tell) -> dict[Digest, int]:
        """Have every layer unpacked; returns the sizes, by diff id, of those that were not."""
        missing = [layer for layer in layers if not self._is_here(layer)]
        for layer in layers:
            tell(layer.told("Pulling fs layer" if layer in missing else "Already exists"))
        works = [partial(self._add, repository, layer) for layer in missing]
        added = in_parallel(works, self._at_once, tell, self._give_up)
        return {diff_id: size for each in added for diff_id, size in each.items()}

    def _is_here(self, layer: Layer) -> bool:
        return self._images.has_layer(layer.chain_id) and self._has_blob(layer)

    def _has_blob(self, layer: Layer) -> bool:
        """Whether the layout has the blob. Raises CorruptContent where the descriptor has another size."""
        try:
            size = os.path.getsize(self._layout.blob_path(layer.blob.digest))
        except FileNotFoundError:
            return False
        if size != layer.blob.size:
            raise _missized(layer.blob, size)
        return True

    def _add(self, repository: Repository, layer: Layer, tell: Tell) -> dict[Digest, int]:
        """Fetch and unpack a layer; returns its size, unless somebody else has done it at the same time."""
        with self._turn(layer, tell):
            if self._is_here(layer):
                tell(layer.told("Already exists"))
                return {}
            if not self._has_blob(layer):
                self._download(repository, layer, tell)
            with self._unpackings:
                size = self._unpack(layer, tell)
            tell(layer.told("Pull complete"))
            return {layer.diff_id: size}

    def _unpack(self, layer: Layer, tell: Tell) -> int:
        def go_on() -> None:
            tell(layer.moved("Extracting", layer.blob.size))

        go_on()
        return self._images.unpack_layer(layer.blob.digest, layer.diff_id, layer.chain_id, go_on)

    def _download(self, repository: Repository, layer: Layer, tell: Tell) -> None:
        with _held(self._downloads, lambda: tell(layer.told("Waiting"))):
            self._fetch(repository, layer.blob, lambda current: tell(layer.moved("Downloading", current)))
        tell(layer.told("Verifying Checksum"))
        tell(layer.told("Download complete"))

    @contextlib.contextmanager
    def _turn(self, layer: Layer, tell: Tell) -> Iterator[None]:
        """One pull of a layer at a time, in all processes. What a killed one leaves is found as abandoned."""
        path = os.path.join(self._paths.staging, layer.blob.digest.hex)
        with store_errors(path):
            while (held := locks.take(path)) is None:
                tell(layer.moved("Waiting", 0))
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(held)

    def _fetch(self, repository: Repository, blob: Descriptor, moved: Callable[[int], None]) -> None:
        """Have a blob in the layout, with the size and the digest that its descriptor says."""
        with self._layout.writer(blob.digest.algorithm, blob.size) as writer:
            repository.blob(blob.digest, blob.size, writer, moved)
            writer.commit(blob.digest, blob.size)


def _missized(descriptor: Descriptor, size: int) -> CorruptContent:
    return CorruptContent(f"{descriptor.digest} has {size} bytes, and not {descriptor.size} as its descriptor says")


def _layers(manifest: Manifest, config: documents.ImageConfig) -> tuple[Layer, ...]:
    diff_ids = config.rootfs.diff_ids
    return tuple(map(Layer, manifest.layers, diff_ids, chain_ids(diff_ids)))


def _check(manifest: Manifest) -> None:
    """Raises CorruptContent for what is no container image, or has parts that are elsewhere."""
    if manifest.config.media_type not in documents.CONFIG_TYPES:
        raise CorruptContent(f"unsupported media type {manifest.config.media_type[:100]}: it is no container image")
    if manifest.config.size > documents.MAX_DOCUMENT:
        raise CorruptContent(f"its configuration has {manifest.config.size} bytes")
    for layer in manifest.layers:
        if any(word in layer.media_type for word in _FOREIGN):
            raise CorruptContent(f"its layer {layer.digest.hex[:_SHORT_ID]} is kept outside of the registry")
        if layer.media_type not in _LAYER_TYPES:
            raise CorruptContent(f"unsupported media type {layer.media_type[:100]} of a layer")
        if layer.size > documents.MAX_BLOB:
            raise CorruptContent(f"its layer {layer.digest.hex[:_SHORT_ID]} has {layer.size} bytes: too many")


class AnyManifest(documents.Document, frozen=True, kw_only=True, rename="camel"):
    """What manifests and indexes have in common."""

    media_type: str = ""


def _media_type(served: Fetched) -> str:
    """What a document is, by its own word and the registry's, which must not differ (CVE-2021-41190)."""
    if served.media_type.startswith(_OLD_FORMAT):
        return served.media_type
    stated = documents.decode(AnyManifest, served.content).media_type
    known = (*documents.MANIFEST_TYPES, *documents.INDEX_TYPES)
    if stated and stated != served.media_type and served.media_type in known:
        raise CorruptContent(f"a {served.media_type} says that it is a {stated[:100]}")
    return stated or served.media_type


@contextlib.contextmanager
def _held(semaphore: threading.Semaphore, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the semaphore, *wait* being called first where that takes time."""
    if not semaphore.acquire(blocking=False):
        wait()
        semaphore.acquire()
    try:
        yield
    finally:
        semaphore.release()
