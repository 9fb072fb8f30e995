"""``load``: the images of an archive or a directory, stored by a job, unpacked and recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from kernel_sandbox.engine.content import Bulk
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.engine.tasks import FoundImage
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Layer
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image

_AT_ONCE = 2


class Loaded(msgspec.Struct, frozen=True):
    """An image that has been loaded, its names in the archive, and those that another image (its id) has lost."""

    image: Image
    names: tuple[Reference, ...]
    displaced: tuple[tuple[Reference, Digest], ...]


def load(images: Images, source: int, platform: str, tell: Tell) -> tuple[Loaded, ...]:
    """Load what the descriptor *source* yields, an archive or a directory.

    *platform* is a specifier, empty for any. Raises CorruptContent, and NotFound for a platform that is not there.
    """
    loaded: list[Loaded] = []
    with images.adding():
        found = images.read_archive(source, platform)
        holders = {reference.parse(tag): image.id for image in images.list() for tag in image.tags}
        try:
            for each in found:
                loaded.append(_record(images, each, holders, tell))
                holders |= dict.fromkeys(loaded[-1].names, loaded[-1].image.id)
        finally:
            images.write_index()
    images.collect()  # what the archive had besides, and other blobs of images that were here
    return tuple(loaded)


def _record(images: Images, found: FoundImage, holders: Mapping[Reference, Digest], tell: Tell) -> Loaded:
    names = tuple(map(reference.parse, found.names))
    described, layers = images.described(Digest(found.manifest), found.names)
    image = images.record(described, layers, _unpack(images, layers, found.compressed, tell))
    images.tell(image, "load", images.labels(image))
    displaced = ((name, holders[name]) for name in names if holders.get(name, image.id) != image.id)
    return Loaded(image, names, tuple(displaced))


def _unpack(images: Images, layers: Sequence[Layer], compressed: Sequence[str], tell: Tell) -> dict[Digest, int]:
    """Unpack the layers that are not unpacked yet, several at once; returns their sizes by chain id.

    Those whose blobs have been *compressed* here are no bombs.
    """
    missing = [layer for layer in layers if not images.has_layer(layer.chain_id)]
    bulk = Bulk(compressed)
    works = [partial(_unpack_one, images, layer, bulk) for layer in missing]
    sizes = in_parallel(works, _AT_ONCE, tell, lambda: None)
    return {layer.chain_id: size for layer, size in zip(missing, sizes, strict=True)}


def _unpack_one(images: Images, layer: Layer, bulk: Bulk, tell: Tell) -> int:
    def moved(current: int) -> None:
        tell(Progress("Loading layer", layer.diff_id.short, current, layer.blob.size))

    with images.adding():  # by itself: when all is given up, nobody waits for this thread long
        moved(0)
        size = images.unpack_layer(layer, bulk, lambda: moved(0))
        moved(layer.blob.size)
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
