"""What images are made of: their documents, their layers packed and unpacked, and the record that holds them together.

Not here: how an image is named and found, where its blobs come from, when it goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

import msgspec

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.engine.collection import Collector
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import CorruptContent, SandboxError, UsageError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec.digest import Digest, chain_ids
from kernel_sandbox.spec.times import parse_time
from kernel_sandbox.storage.images import UNKNOWN_SIZE, Image, Layer
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.state import State

_EARLIEST, _LATEST = -(1 << 63), (1 << 63) - 1  # what SQLite has integers for


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

    def unpack_layer(
        self, blob: Digest, diff_id: Digest, chain_id: Digest, meanwhile: Callable[[], None] | None = None
    ) -> int:
        """Unpack a layer unless it is unpacked, in a process of its own; returns the bytes of its files.

        *meanwhile* is called now and then, and may raise to give it up. Raises CorruptContent where the layer's archive
        is not *diff_id* or breaks a rule.
        """
        task = tasks.Unpack(self._paths.home, self._paths.run, blob, diff_id, chain_id)
        answer = call(self._launcher, "unpack", tasks.encode(task), meanwhile=meanwhile)
        return msgspec.msgpack.decode(answer, type=int)

    def _call(self, job: str, type_: type[tasks.InStore], *arguments: object, descriptors: Sequence[int] = ()) -> bytes:
        task = type_(self._paths.home, self._paths.run, *arguments)
        return call(self._launcher, job, tasks.encode(task), descriptors)

    # Records

    def record(
        self,
        manifest: Digest,
        names: Iterable[str] = (),
        digests: Iterable[str] = (),
        sizes: Mapping[Digest, int] = MappingProxyType({}),
    ) -> Image:
        """Record, while ``adding``, the image whose manifest, configuration and layers are in the layout.

        *names* are canonical references that become the image's, *digests* those that a registry knows it by. Layers
        that are not unpacked are; *sizes*, by diff id, are of those that just were. An image that is recorded keeps its
        manifest and layers. Raises CorruptContent for documents that contradict each other or the content.
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
        return self._record(image, document.layers, config, sizes)

    def _read_config(self, manifest: documents.Manifest) -> documents.ImageConfig:
        if manifest.config.media_type not in documents.CONFIG_TYPES:
            raise CorruptContent(
                f"{manifest.config.media_type[:100]!r} is the configuration of something that is no container image"
            )
        raw = self.layout.read(manifest.config.digest)
        if len(raw) != manifest.config.size:
            raise CorruptContent(f"the config {manifest.config.digest} has {len(raw)} bytes: its manifest is wrong")
        config = documents.decode(documents.ImageConfig, raw)
        documents.check_layers(manifest, config)
        return config

    def _record(
        self,
        image: Image,
        blobs: Sequence[documents.Descriptor],
        config: documents.ImageConfig,
        sizes: Mapping[Digest, int],
    ) -> Image:
        """Record an image whose layers are in the layout, as the database then has it.

        Those whose *sizes*, by diff id, are known need not be unpacked yet.
        """
        diff_ids = config.rootfs.diff_ids
        layers = tuple(
            Layer(
                blob.digest,
                chain_id,
                sizes[diff_id] if diff_id in sizes else self._size(blob.digest, diff_id, chain_id),
            )
            for blob, diff_id, chain_id in zip(blobs, diff_ids, chain_ids(diff_ids), strict=True)
        )
        image = msgspec.structs.replace(image, layers=layers, size=sum(layer.size for layer in layers))
        self._state.images.add(image)
        self.write_index()
        return next(iter(self._state.images.by_id(image.id.hex)), image)  # unless somebody has removed it meanwhile

    def _size(self, blob: Digest, diff_id: Digest, chain_id: Digest) -> int:
        """The bytes of an unpacked layer's files; one that is not unpacked is, and a blob that no image has it in is
        compared with it: a stranger's image may name it beside layers that are here."""
        known = self._state.images.layer_size(chain_id, blob)
        is_known = known != UNKNOWN_SIZE and self.has_layer(chain_id)
        return known if is_known else self.unpack_layer(blob, diff_id, chain_id)

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
    """A document's time in nanoseconds since the epoch, 0 where it tells none. Raises CorruptContent.

    Go's zero time, which is met often, and all else that does not fit becomes the nearest moment that does.
    """
    try:
        return min(max(parse_time(text, 0, 0), _EARLIEST), _LATEST) if text else 0
    except UsageError as error:
        raise CorruptContent(f"invalid ImageConfig: {error}") from None
