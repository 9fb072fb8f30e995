"""``prune``: removing what is not in use, and counting what that frees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import measuring
from kernel_sandbox.engine.listing import KnownImages
from kernel_sandbox.errors import Conflict, NotFound, SandboxError
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.times import parse_time
from kernel_sandbox.storage.images import Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

FILTERS = ("label", "label!", "until")


class Pruned(msgspec.Struct, frozen=True):
    """What is gone: names or ids, what of images became nameless first, and the bytes that were freed."""

    removed: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    bytes: int = 0


def prune_containers(engine: Engine, filters: Filters, zone: int) -> Pruned:
    """Remove containers that do not run. *zone* is for times without one, in seconds east of UTC.

    Raises SandboxError for a filter that does not exist, or that has a wrong value.
    """
    filters.check(*FILTERS)
    is_old = _age_test(filters, zone)
    known = KnownImages(engine)
    removed, freed = [], 0
    for container in engine.containers.list(all_=True):
        if container.is_active or not is_old(container.created) or container.image not in known.images:
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
    """Remove images that no container uses: those without a name, or *all_*. Raises SandboxError."""
    filters.check(*FILTERS)
    is_old = _age_test(filters, zone)
    removed: list[str] = []
    untagged: list[str] = []
    freed = 0
    for image in engine.images.list():
        is_meant = (all_ or not image.tags) and is_old(image.created)
        if not is_meant or not filters.fits_labels(engine.images.labels(image)):
            continue
        sizes = measuring.layer_sizes(engine, (image,))
        try:
            for outcome in map(engine.images.remove, _ways_to_name(image)):
                untagged += outcome.untagged
                removed += outcome.deleted
                freed += sum(size for chain_id, size in sizes.items() if chain_id in outcome.deleted)
        except (Conflict, NotFound):  # a container uses it
            continue
    engine.events.record("image", "prune", "", {"reclaimed": str(freed)})
    return Pruned(tuple(removed), tuple(untagged), freed)


def _ways_to_name(image: Image) -> tuple[str, ...]:
    return image.tags or (image.id,)


def _age_test(filters: Filters, zone: int) -> Callable[[int], bool]:
    """Whether something that was made then is old enough. Raises SandboxError."""
    if not filters["until"]:
        return lambda created: True
    if len(filters["until"]) > 1:
        raise SandboxError("more than one until filter specified")
    limit = parse_time(filters["until"][0], time.time_ns(), zone)
    return lambda created: created < limit
