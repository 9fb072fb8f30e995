"""``system df``: what the store's images, containers and volumes take on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import image_listing, measuring
from kernel_sandbox.engine.image_listing import ListedImage
from kernel_sandbox.engine.listing import Listed, listed
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.volumes import Volume

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine


class ImageUsage(msgspec.Struct, frozen=True):
    """An image, how many bytes of it are other images', too, and how many its own, and how many containers it has."""

    listed: ListedImage
    shared: int
    unique: int
    containers: int


class VolumeUsage(msgspec.Struct, frozen=True):
    volume: Volume
    size: int


class DiskUsage(msgspec.Struct, frozen=True):
    """All that takes space; ``layers`` are the bytes of all images together."""

    layers: int
    images: tuple[ImageUsage, ...]
    containers: tuple[Listed, ...]
    volumes: tuple[VolumeUsage, ...]


def usage(engine: Engine) -> DiskUsage:
    """What takes how much: what containers have written and volumes is measured, of layers it is known."""
    images = image_listing.listed(engine, Filters())
    layers = measuring.layer_sizes(engine, engine.images.list(hidden=True))
    containers = listed(engine, Filters(), all_=True, sizes=True)
    volumes = engine.volumes.list()
    sizes = measuring.sizes(engine, [engine.volumes.mountpoint(each) for each in volumes])
    return DiskUsage(
        layers=sum(layers.values()),
        images=_images(images, layers, Counter(each.container.image for each in containers)),
        containers=containers,
        volumes=tuple(VolumeUsage(volume, size) for volume, size in zip(volumes, sizes, strict=True)),
    )


def _images(
    images: Sequence[ListedImage], layers: Mapping[Digest, int], containers: Mapping[str, int]
) -> tuple[ImageUsage, ...]:
    users = Counter(layer.chain_id for each in images for layer in each.image.layers)

    def size(image: Image, shared: bool) -> int:
        return sum(layers[each.chain_id] for each in image.layers if (users[each.chain_id] > 1) is shared)

    return tuple(
        ImageUsage(each, size(each.image, True), size(each.image, False), containers.get(each.image.id, 0))
        for each in images
    )
