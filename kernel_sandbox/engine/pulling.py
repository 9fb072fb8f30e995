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
from kernel_sandbox.engine.content import Bulk
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import CorruptContent, NotFound
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Descriptor, Layer, Manifest, Platform
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.registry.repository import Fetched, Repository

_OLD_FORMAT = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN_TYPES = (
    *(f"application/vnd.oci.image.layer.nondistributable.v1.tar{kind}" for kind in ("", "+gzip", "+zstd")),
    *(f"application/vnd.docker.image.rootfs.foreign.diff.tar{kind}" for kind in ("", ".gzip")),
)
"""Layers that a registry need not have: who made them offers them at addresses of his own, where nobody is led to."""
_LAYER_TYPES = (
    documents.OCI_LAYER, documents.OCI_LAYER_GZIP, documents.OCI_LAYER_ZSTD, documents.DOCKER_LAYER,
    documents.DOCKER_LAYER_GZIP, "application/vnd.docker.image.rootfs.diff.tar.zstd",
)  # fmt: skip
_UNPACKED_AT_ONCE = 2
_DEEPEST = 1  # indexes below an index
_SYSTEMS = ("linux", "")  # an image that names none is for Docker's own


class Pulled(msgspec.Struct, frozen=True):
    """An image that is here, whether its name meant another one before, or none, and whether an index offered it."""

    image: Image
    is_newer: bool
    is_chosen: bool


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
            self._images.write_index()
        for layer in manifest.layers:
            self._state.images.note_source(layer.digest, reference.name)
        tell(Progress(f"Digest: {served.digest}"))
        return Pulled(image, before is None or before.id != image.id, found is not served)

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
                return self._images.keep(msgspec.structs.replace(known[0], tags=tags, digests=(digest,)))
            stored = self._layout.put(content)
            self._add_config(repository, manifest.config)
            image, layers = self._images.described(stored, tags, (digest,))
            _check_system(self._images.config(image))
            return self._images.record(image, layers, self._add_layers(repository, layers, tell))

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

    def _add_config(self, repository: Repository, config: Descriptor) -> None:
        """Have the configuration in the layout, of which nothing is told."""
        with self._turn(config, lambda: None):
            if not self._layout.has(config.digest):
                self._fetch(repository, config, lambda current: None)

    def _add_layers(self, repository: Repository, layers: tuple[Layer, ...], tell: Tell) -> dict[Digest, int]:
        """Have every layer unpacked; returns the sizes, by chain id, of those that were not."""
        tell = _once(tell)
        missing = [layer for layer in layers if not self._is_here(layer)]
        for layer in layers:
            tell(_told(layer, "Pulling fs layer" if layer in missing else "Already exists"))
        bulk = Bulk()
        works = [partial(self._add, repository, layer, bulk) for layer in missing]
        added = in_parallel(works, self._at_once, tell, self._give_up)
        return {chain_id: size for each in added for chain_id, size in each.items()}

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

    def _add(self, repository: Repository, layer: Layer, bulk: Bulk, tell: Tell) -> dict[Digest, int]:
        """Fetch and unpack a layer; returns its size, unless somebody else has done it at the same time.

        The thread that does it is ``adding`` by itself: when all is given up, nobody waits for it long.
        """
        with self._images.adding(), self._turn(layer.blob, lambda: tell(_moved(layer, "Waiting", 0))):
            if self._is_here(layer):
                tell(_told(layer, "Already exists"))
                return {}
            if not self._has_blob(layer):
                self._download(repository, layer, tell)
            with self._unpackings:
                size = self._unpack(layer, bulk, tell)
            tell(_told(layer, "Pull complete"))
            return {layer.chain_id: size}

    def _unpack(self, layer: Layer, bulk: Bulk, tell: Tell) -> int:
        def go_on() -> None:
            tell(_moved(layer, "Extracting", layer.blob.size))

        go_on()
        return self._images.unpack_layer(layer, bulk, go_on)

    def _download(self, repository: Repository, layer: Layer, tell: Tell) -> None:
        with _held(self._downloads, lambda: tell(_told(layer, "Waiting"))), _explained_if_foreign(layer):
            self._fetch(repository, layer.blob, lambda current: tell(_moved(layer, "Downloading", current)))
        tell(_told(layer, "Verifying Checksum"))
        tell(_told(layer, "Download complete"))

    @contextlib.contextmanager
    def _turn(self, blob: Descriptor, wait: Callable[[], None]) -> Iterator[None]:
        """One pull of a blob at a time, in all processes. What a killed one leaves is found as abandoned.

        *wait* is called while it is another's turn, and may end that.
        """
        path = os.path.join(self._paths.staging, blob.digest.hex)
        with store_errors(path):
            while (held := locks.take(path)) is None:
                wait()
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(held)

    def _fetch(self, repository: Repository, blob: Descriptor, moved: Callable[[int], None]) -> None:
        """Have a blob in the layout, with the size and the digest that its descriptor says.

        Where what came is something else, one of the mirrors may have sent it: the registry itself is asked.
        """
        try:
            self._fetch_from(repository, blob, moved)
        except CorruptContent:
            if not repository.has_mirrors:
                raise
            self._fetch_from(repository.without_mirrors(), blob, moved)

    def _fetch_from(self, repository: Repository, blob: Descriptor, moved: Callable[[int], None]) -> None:
        with self._layout.writer(blob.digest.algorithm, blob.size) as writer:
            repository.blob(blob.digest, blob.size, writer, moved)
            writer.commit(blob.digest, blob.size)


def _missized(descriptor: Descriptor, size: int) -> CorruptContent:
    return CorruptContent(f"{descriptor.digest} has {size} bytes, and not {descriptor.size} as its descriptor says")


@contextlib.contextmanager
def _explained_if_foreign(layer: Layer) -> Iterator[None]:
    try:
        yield
    except NotFound:
        if layer.blob.media_type not in _FOREIGN_TYPES:
            raise
        raise CorruptContent(f"its layer {layer.blob.digest.short} is kept outside of the registry") from None


def _once(tell: Tell) -> Tell:
    """Tells no line twice: of a blob that is several layers Docker tells as of one."""
    told: set[str] = set()

    def relay(progress: Progress) -> None:
        if progress.total or str(progress) not in told:
            told.add(str(progress))
            tell(progress)

    return relay


def _told(layer: Layer, status: str) -> Progress:
    return Progress(status, layer.blob.digest.short)


def _moved(layer: Layer, status: str, current: int) -> Progress:
    """So many of the layer's bytes are done."""
    return Progress(status, layer.blob.digest.short, current, max(1, layer.blob.size))


def _check(manifest: Manifest) -> None:
    """Raises CorruptContent for what is no container image, or too large for one."""
    if manifest.config.media_type not in documents.CONFIG_TYPES:
        raise CorruptContent(f"unsupported media type {manifest.config.media_type[:100]}: it is no container image")
    if manifest.config.size > documents.MAX_DOCUMENT:
        raise CorruptContent(f"its configuration has {manifest.config.size} bytes")
    for layer in manifest.layers:
        if layer.media_type not in (*_LAYER_TYPES, *_FOREIGN_TYPES):
            raise CorruptContent(f"unsupported media type {layer.media_type[:100]} of a layer")
        if layer.size > documents.MAX_BLOB:
            raise CorruptContent(f"its layer {layer.digest.short} has {layer.size} bytes: too many")


def _check_system(config: documents.ImageConfig) -> None:
    """Raises CorruptContent for an image that runs on no Linux, in Docker's words."""
    if config.os.lower() not in _SYSTEMS:
        raise CorruptContent(f'image operating system "{config.os[:100]}" cannot be used on this platform')


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
