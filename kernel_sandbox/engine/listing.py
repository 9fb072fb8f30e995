"""``ps``: the containers that are meant, with what a row tells of them beyond their record.

Here: looking things up once for all rows. Not here: what filters mean (``engine.selection``), how a row is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import measuring
from kernel_sandbox.engine.selection import selector
from kernel_sandbox.errors import NotFound, SandboxError, UsageError
from kernel_sandbox.spec.command_line import command_line
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import Container

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_NOTHING = ContainerConfig(cmd=("",))


class Listed(msgspec.Struct, frozen=True):
    """A container in a list.

    ``image`` is the name that was asked for, or the image's id where that name means another one by now;
    ``written`` the bytes in its writable layer and ``size`` these with its image's, 0 where they were not asked for.
    """

    container: Container
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    written: int = 0
    size: int = 0


def listed(
    engine: Engine, filters: Filters, all_: bool = False, last: int = 0, sizes: bool = False
) -> tuple[Listed, ...]:
    """The containers that pass the filters, newest first: the running ones, all of them, or the *last* so many.

    Raises SandboxError for a filter that does not exist or has a wrong value.
    """
    known = KnownImages(engine)
    is_meant = selector(engine, filters, known)
    everything = all_ or last > 0 or bool(filters["status"])
    found = (each for each in engine.containers.list(everything) if each.image in known.images and is_meant(each))
    containers = tuple(islice(found, last if last > 0 else None))
    written = _written(engine, containers) if sizes else (0,) * len(containers)
    return tuple(
        Listed(
            container,
            known.name(container),
            command_line(container.options, known.config(container)),
            known.labels(container),
            bytes_,
            bytes_ + known.images[container.image].size if sizes else 0,
        )
        for container, bytes_ in zip(containers, written, strict=True)
    )


def _written(engine: Engine, containers: Iterable[Container]) -> tuple[int, ...]:
    return measuring.sizes(engine, [engine.paths.container(each.id).upper for each in containers])


class KnownImages:
    """The images of a store, read once; all else about them is looked up at most once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.images: Mapping[str, Image] = {image.id: image for image in engine.images.list(hidden=True)}
        self._ids_by_name: dict[str, str] = {tag: image.id for image in self.images.values() for tag in image.tags}

    def config(self, container: Container) -> ContainerConfig:
        """What the container's image says of containers; nothing for a damaged one, which is listed, too."""
        try:
            return self._engine.images.config(self.images[container.image]).config
        except SandboxError:
            return _NOTHING

    def labels(self, container: Container) -> Mapping[str, str]:
        """The container's labels, those of its image among them."""
        image, own = self.config(container).labels, container.options.labels
        return {**image, **own} if image else own

    def name(self, container: Container) -> str:
        """The image as it was asked for, unless that means another image by now."""
        asked = container.options.image
        if asked not in self._ids_by_name:
            self._ids_by_name[asked] = self._id(asked)
        return asked if self._ids_by_name[asked] == container.image else container.image

    def _id(self, name: str) -> str:
        try:
            return self._engine.images.find(name).id
        except (NotFound, UsageError):
            return ""
