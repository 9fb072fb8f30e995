"""``prune``: removing what is not in use, and counting what that frees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import measuring
from kernel_sandbox.engine.listing import KnownImages
from kernel_sandbox.errors import Conflict, NotFound
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.images import Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

FILTERS = ("label", "label!", "until")


class Pruned(msgspec.Struct, frozen=True):
    """What is gone: ids of containers, or what was done to images in Docker's words; and the bytes that were freed."""

    removed: tuple[str, ...] = ()
    bytes: int = 0


def prune_containers(engine: Engine, filters: Filters, zone: int) -> Pruned:
    """Remove containers that do not run. *zone* is for times without one, in seconds east of UTC.

    Raises SandboxError for a filter that does not exist, or that has a wrong value.
    """
    filters.check(*FILTERS)
    limit = filters.until(time.time_ns(), zone)
    known = KnownImages(engine)
    removed, freed = [], 0
    for container in engine.containers.list(all_=True):
        if container.is_active or container.created >= limit or container.image not in known.images:
            continue
        if not filters.fits_labels(known.labels(container)):
            continue
        written = measuring.sizes(engine, (engine.paths.container(container.id).upper,))[0]
        try:
            engine.containers.remove(container.id)
        except (Conflict, NotFound):  # it was started or removed meanwhile
            continue
        removed.append(container.id)
        freed += written
    engine.events.record("container", "prune", "", {"reclaimed": str(freed)})
    return Pruned(tuple(removed), bytes=freed)


def prune_images(engine: Engine, all_: bool, filters: Filters, zone: int) -> Pruned:
    """Remove images that no container uses: those without a name, or *all_*, or as the filter ``dangling`` says.

    Raises SandboxError for a filter that does not exist, or that has a wrong value.
    """
    filters.check(*FILTERS, "dangling")
    limit = filters.until(time.time_ns(), zone)
    named_too = not {"false", "0"}.isdisjoint((*filters["dangling"], "false" if all_ else "true"))
    images = engine.images.list()
    sizes = measuring.layer_sizes(engine, images)
    used = {container.image for container in engine.containers.list(all_=True)}
    changes: list[str] = []
    for image in images:
        is_meant = (named_too or not image.tags) and image.id not in used and image.created < limit
        if is_meant and filters.fits_labels(engine.images.labels(image)):
            changes += _removed(engine, image)
    freed = sum(size for chain_id, size in sizes.items() if f"deleted: {chain_id}" in changes)
    with engine.paths.room():
        engine.images.collect()  # what killed processes have left, too
        engine.events.record("image", "prune", "", {"reclaimed": str(freed)})
    return Pruned(tuple(changes), freed)


def _removed(engine: Engine, image: Image) -> Iterator[str]:
    """Take all names away, and the image with the last; one that is needed by now keeps what it has."""
    for name in (*image.tags, *image.digests) or (image.id,):
        with suppress(Conflict, NotFound):
            removed = engine.images.remove(name)
            yield from (f"untagged: {each}" for each in removed.untagged)
            yield from (f"deleted: {each}" for each in removed.deleted)
