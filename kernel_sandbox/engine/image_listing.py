"""``images``: those that are meant, with the names that they are listed under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import image_names
from kernel_sandbox.engine.image_selection import selector
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")


class ListedImage(msgspec.Struct, frozen=True):
    """An image in a list, and those of its names that are to be shown; without any it is dangling."""

    image: Image
    tags: tuple[Reference, ...] = ()
    digests: tuple[Reference, ...] = ()


def listed(engine: Engine, filters: Filters, all_: bool = False) -> tuple[ListedImage, ...]:
    """The images that pass the filters, newest first.

    Those without a name from which others were committed are left out unless *all_*; they do not dangle. Raises
    SandboxError for a filter that does not exist or has a wrong value.
    """
    filters.check(*_FILTERS)
    is_meant = selector(engine, filters)
    images = engine.images.list()
    dangling = filters.flag("dangling")
    parents = frozenset() if all_ and not dangling else frozenset(image.parent for image in images)
    rows = (_named(image, filters["reference"]) for image in images if is_meant(image))
    return tuple(row for row in rows if _is_shown(row, dangling, bool(filters["reference"]), row.image.id in parents))


def _named(image: Image, patterns: tuple[str, ...]) -> ListedImage:
    """A digest is shown beside the tags of its repository, or because it is meant itself."""

    def is_meant(name: Reference) -> bool:
        return not patterns or any(name.matches(pattern) for pattern in patterns)

    tags = tuple(filter(is_meant, image_names.tags(image)))
    repositories = {tag.name for tag in tags}
    digests = tuple(name for name in image_names.digests(image) if name.name in repositories or is_meant(name))
    return ListedImage(image, tags, digests)


def _is_shown(row: ListedImage, dangling: bool | None, by_name: bool, is_parent: bool) -> bool:
    if row.tags or row.digests:
        return not (dangling and row.tags)
    return not (is_parent or by_name or dangling is False)
