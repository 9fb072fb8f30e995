"""What images are made of: their documents, their layers packed and unpacked, and the record that holds them together.

Not here: how an image is named and found, where its blobs come from, when it goes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

import msgspec

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.engine.collection import Collector
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import CorruptContent, SandboxError, UsageError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage.images import NEVER, UNKNOWN_SIZE, Image, Layer
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.state import State

_LATEST = (1 << 63) - 1  # that SQLite has an integer for


class Bulk:
    """What the layers of one image hold in all, lest it be a bomb in pieces; many threads may add to it.

    Those whose blobs are *compressed* here may hold what they like.
    """

    def __init__(self, compressed: Collection[str] = ()) -> None:
        self._compressed = compressed
        self._lock = threading.Lock()
        self._blobs: dict[Digest, int] = {}
        self._held = 0

    def trusts(self, blob: documents.Descriptor) -> bool:
        """Whether a layer may hold what it likes."""
        return blob.digest in self._compressed

    def add(self, blob: documents.Descriptor, length: int) -> None:
        """Count the bytes of a layer's archive. Raises CorruptContent where they are too many for the image's blobs."""
        from kernel_sandbox.storage.compression import check_bulk

        if self.trusts(blob):
            return
        with self._lock:
            self._blobs[blob.digest] = blob.size
            self._held += length
            check_bulk("the image", self._held, sum(self._blobs.values()))


class Content:
    """The content of one store's images. ``layout`` holds the blobs."""

    def __init__(self, paths: Paths, state: State, launcher: Launcher) -> None:
        self._paths = paths
        self._state = state
        self._launcher = launcher
        self.layout = ImageLayout(paths.oci, Staging(paths.staging))
        self._collector = Collector(paths, state, self.layout, launcher)
        self._configs: dict[Digest, documents.ImageConfig] = {}

    def adding(self) -> AbstractContextManager[None]:
        """Around the adding of blobs and layers: what it leaves is recorded, or collected. It does not nest."""
        return self._collector.adding()

    def collect(self) -> None:
        """Remove the blobs and layers that no image has; where some are being added, whoever adds them does it."""
        self._collector.collect()

    def config(self, image: Image) -> documents.ImageConfig:
        """The image's configuration document."""
        if image.id not in self._configs:
            self._configs[image.id] = documents.decode(documents.ImageConfig, self.layout.read(image.id))
        return self._configs[image.id]

    def manifest(self, image: Image) -> documents.Manifest:
        """The image's manifest."""
        return documents.decode(documents.Manifest, self.layout.read(image.manifest))

    def labels(self, image: Image) -> Mapping[str, str]:
        """The image's labels; none for a damaged image, which can be named and removed all the same."""
        try:
            return self.config(image).config.labels
        except SandboxError:
            return {}

    # Layers

    def has_layer(self, chain_id: Digest) -> bool:
        """Whether a layer is unpacked."""
        return os.path.isdir(self._paths.layer(chain_id))

    def layer_directories(self, image: Image) -> tuple[str, ...]:
        """Where the image's layers are unpacked, topmost first, and the layer of mount points below them."""
        self.unpack(image)
        layers = (self._paths.layer(layer.chain_id) for layer in reversed(image.layers))
        return (*layers, self._paths.skeleton)

    def unpack(self, image: Image) -> None:
        """Unpack those layers that are not unpacked yet."""
        if all(self.has_layer(layer.chain_id) for layer in image.layers):
            return
        with locks.shared(self._paths.lock):
            for layer, diff_id in zip(image.layers, self.config(image).rootfs.diff_ids, strict=True):
                if not self.has_layer(layer.chain_id):
                    self._call("unpack", tasks.Unpack, layer.blob, diff_id, layer.chain_id, True)

    def unpack_layer(self, layer: documents.Layer, bulk: Bulk, meanwhile: Callable[[], None] | None = None) -> int:
        """Unpack a layer unless it is unpacked, in a process of its own; returns the bytes of its files.

        *bulk* is that of the image; *meanwhile* is called now and then, and may raise to give it up. Raises
        CorruptContent where the layer's archive has another digest than its diff id or breaks a rule.
        """
        home, run = self._paths.home, self._paths.run
        task = tasks.Unpack(home, run, layer.blob.digest, layer.diff_id, layer.chain_id, bulk.trusts(layer.blob))
        answer = call(self._launcher, "unpack", tasks.encode(task), meanwhile=meanwhile)
        unpacked = msgspec.msgpack.decode(answer, type=decodable(tasks.Unpacked))
        bulk.add(layer.blob, unpacked.length)
        return unpacked.size

    def _call(self, job: str, type_: type[tasks.InStore], *arguments: object, descriptors: Sequence[int] = ()) -> bytes:
        task = type_(self._paths.home, self._paths.run, *arguments)
        return call(self._launcher, job, tasks.encode(task), descriptors)

    def read_archive(self, source: int, platform: str) -> tuple[tasks.FoundImage, ...]:
        """Have the blobs of the images in an archive, or a directory, in the layout, while ``adding``.

        *source* is its descriptor, *platform* a specifier, empty for any. Raises CorruptContent, NotFound.
        """
        answer = self._call("load", tasks.Load, platform, descriptors=(source,))
        return msgspec.msgpack.decode(answer, type=decodable(tuple[tasks.FoundImage, ...]))

    # Records

    def described(
        self, manifest: Digest, names: Iterable[str] = (), digests: Iterable[str] = ()
    ) -> tuple[Image, tuple[documents.Layer, ...]]:
        """The image whose manifest and configuration are in the layout, to be recorded, and its layers, bottom first.

        *names* are canonical references that shall be the image's, *digests* those that a registry knows it by.
        Raises CorruptContent for documents that contradict each other.
        """
        raw = self.layout.read(manifest)
        document = documents.decode(documents.Manifest, raw)
        config = self._read_config(document)
        image = Image(
            id=document.config.digest,
            manifest=manifest,
            manifest_size=len(raw),
            media_type=document.media_type or documents.OCI_MANIFEST,
            created=_moment(config.created),
            size=0,
            layers=(),
            tags=tuple(names),
            digests=tuple(digests),
        )
        return image, documents.layers(document, config)

    def _read_config(self, manifest: documents.Manifest) -> documents.ImageConfig:
        if manifest.config.media_type not in documents.CONFIG_TYPES:
            raise CorruptContent(
                f"{manifest.config.media_type[:100]!r} is the configuration of something that is no container image"
            )
        raw = self.layout.read(manifest.config.digest)
        if len(raw) != manifest.config.size:
            raise CorruptContent(f"the config {manifest.config.digest} has {len(raw)} bytes: its manifest is wrong")
        return documents.decode(documents.ImageConfig, raw)

    def record(self, image: Image, layers: Iterable[documents.Layer], sizes: Mapping[Digest, int]) -> Image:
        """Record, while ``adding``, an image with its *layers*, which are in the layout; as the database then has it.

        Layers that are not unpacked are, but for those whose *sizes*, by chain id, are known. An image that is recorded
        keeps its manifest and layers. The index is the caller's to write. Raises CorruptContent where the layers'
        content is not what it should be.
        """
        bulk = Bulk()
        sized = tuple(
            Layer(
                each.blob.digest,
                each.chain_id,
                sizes[each.chain_id] if each.chain_id in sizes else self._size(each, bulk),
            )
            for each in layers
        )
        return self.keep(msgspec.structs.replace(image, layers=sized, size=sum(layer.size for layer in sized)))

    def keep(self, image: Image) -> Image:
        """Record, while ``adding``, an image whose layers are unpacked, or new names of one; as the database has it.

        The index is the caller's to write.
        """
        self.layout.sync()
        with self.naming():
            self._state.images.add(image)
        return next(iter(self._state.images.by_id(image.id.hex)), image)  # unless somebody has removed it meanwhile

    def naming(self) -> AbstractContextManager[None]:
        """Around a change of images' names: whoever takes the last one away sees each that is given before or after."""
        return locks.exclusive(os.path.join(self._paths.home, "images.lock"))

    def _size(self, layer: documents.Layer, bulk: Bulk) -> int:
        """The bytes of an unpacked layer's files; one that is not unpacked is, and a blob that no image has it in is
        compared with it: a stranger's image may name it beside layers that are here."""
        known = self._state.images.layer_size(layer.chain_id, layer.blob.digest)
        is_known = known != UNKNOWN_SIZE and self.has_layer(layer.chain_id)
        return known if is_known else self.unpack_layer(layer, bulk)

    def write_index(self) -> None:
        """The layout's index.json names what the database names."""
        with locks.exclusive(os.path.join(self._paths.home, "index.lock")):
            self.layout.write_index(
                [
                    msgspec.structs.replace(image.descriptor, annotations={documents.REF_NAME: tag} if tag else {})
                    for image in self._state.images.all()
                    for tag in (image.tags or ("",))
                ]
            )


def _moment(text: str) -> int:
    """A document's time in nanoseconds since the epoch, ``NEVER`` where it tells none. Raises CorruptContent.

    What does not fit becomes the nearest moment that does: Go's zero time, which is met often, is ``NEVER``.
    """
    from kernel_sandbox.spec.times import parse_time

    try:
        return min(max(parse_time(text, 0, 0), NEVER), _LATEST) if text else NEVER
    except UsageError as error:
        raise CorruptContent(f"invalid ImageConfig: {error}") from None
