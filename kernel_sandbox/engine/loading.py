"""``load``: the images of an archive or a directory, stored by a job, unpacked and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from kernel_sandbox.engine import tasks
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest, chain_ids
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image

_AT_ONCE = 2
_SHORT_ID = 12


class Loaded(msgspec.Struct, frozen=True):
    """An image that has been loaded, its names in the archive, and those that another image (its id) has lost."""

    image: Image
    names: tuple[Reference, ...]
    displaced: tuple[tuple[Reference, Digest], ...]


class Loader:
    """Loads images into one store."""

    def __init__(self, paths: Paths, launcher: Launcher, images: Images) -> None:
        self._paths = paths
        self._launcher = launcher
        self._images = images

    def load(self, source: int, platform: str, tell: Tell) -> tuple[Loaded, ...]:
        """Load what the descriptor *source* yields, an archive or a directory.

        *platform* is a specifier, empty for any. Raises CorruptContent, and NotFound for a platform that is not there.
        """
        with self._images.adding():
            task = tasks.Load(self._paths.home, self._paths.run, platform)
            answer = call(self._launcher, "load", tasks.encode(task), (source,))
            found = msgspec.msgpack.decode(answer, type=tuple[tasks.FoundImage, ...])
            loaded = tuple(self._record(each, tell) for each in found)
        self._images.collect()  # what the archive had besides, and other blobs of images that were here
        return loaded

    def _record(self, found: tasks.FoundImage, tell: Tell) -> Loaded:
        names = tuple(map(reference.parse, found.names))
        holders = {reference.parse(tag): image.id for image in self._images.list() for tag in image.tags}
        sizes = self._unpack(Digest(found.manifest), tell)
        image = self._images.record(Digest(found.manifest), found.names, sizes=sizes)
        self._images.tell(image, "load", self._images.labels(image))
        displaced = ((name, holders[name]) for name in names if holders.get(name, image.id) != image.id)
        return Loaded(image, names, tuple(displaced))

    def _unpack(self, manifest: Digest, tell: Tell) -> dict[Digest, int]:
        """Unpack the layers that are not unpacked yet, several at once; returns their sizes by diff id."""
        document = documents.decode(documents.Manifest, self._images.layout.read(manifest))
        config = documents.decode(documents.ImageConfig, self._images.layout.read(document.config.digest))
        documents.check_layers(document, config)
        diff_ids = config.rootfs.diff_ids
        missing = {
            diff_id: (blob, chain_id)
            for blob, diff_id, chain_id in zip(document.layers, diff_ids, chain_ids(diff_ids), strict=True)
            if not self._images.has_layer(chain_id)
        }
        works = [partial(self._unpack_one, blob, diff_id, chain) for diff_id, (blob, chain) in missing.items()]
        return dict(zip(missing, in_parallel(works, _AT_ONCE, tell, lambda: None), strict=True))

    def _unpack_one(self, blob: documents.Descriptor, diff_id: Digest, chain_id: Digest, tell: Tell) -> int:
        short = diff_id.hex[:_SHORT_ID]
        tell(Progress("Loading layer", short, 0, blob.size))
        size = self._images.unpack_layer(blob.digest, diff_id, chain_id)
        tell(Progress("Loading layer", short, blob.size, blob.size))
        return size


def told(loaded: Sequence[Loaded]) -> tuple[str, ...]:
    """What has been loaded, in Docker's words."""
    lines: list[str] = []
    for each in loaded:
        for name in each.names:
            lines += (
                f"The image {name.familiar()} already exists, renaming the old one with ID {id_} to empty string"
                for displaced, id_ in each.displaced
                if displaced == name
            )
            lines.append(f"Loaded image: {name.familiar()}")
        if not each.names:
            lines.append(f"Loaded image ID: {each.image.id}")
    return tuple(lines)
