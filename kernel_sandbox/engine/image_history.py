"""``history``: how an image came about, event by event, each with the layer that it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import measuring
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import History
from kernel_sandbox.spec.times import parse_time
from kernel_sandbox.storage.images import Image, Layer

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine


class Event(msgspec.Struct, frozen=True):
    """One line of an image's history.

    ``image`` is what it left, empty where that is not here; ``created`` is in nanoseconds since the epoch, 0 where it
    is not told; ``size`` counts the bytes of the files of ``layer``, which is None for a change of configuration alone.
    """

    image: str
    created: int
    created_by: str
    comment: str
    size: int
    layer: Layer | None


def history(engine: Engine, name: str) -> tuple[Event, ...]:
    """What happened to the image that *name* means, newest first. Raises NotFound, UsageError."""
    image = engine.images.find(name)
    sizes = measuring.layer_sizes(engine, (image,))
    events = tuple(_events(image, engine.images.config(image).history, sizes))
    ancestors = _ancestors(engine, image)
    return tuple(msgspec.structs.replace(event, image=next(ancestors, "")) for event in reversed(events))


def _events(image: Image, past: tuple[History, ...], sizes: Mapping[Digest, int]) -> Iterator[Event]:
    """Oldest first; a history that tells of more layers than there are has the rest without."""
    layers = iter(image.layers)
    for each in past:
        layer = None if each.empty_layer else next(layers, None)
        size = sizes[layer.chain_id] if layer else 0
        yield Event("", _moment(each.created), each.created_by, each.comment, size, layer)


def _moment(text: str) -> int:
    """A date that is none tells nothing."""
    try:
        return parse_time(text, 0, 0) if text else 0
    except UsageError:
        return 0


def _ancestors(engine: Engine, image: Image) -> Iterator[str]:
    """The ids of the image and of those that it was committed from, as far as they are here."""
    known = {each.id: each for each in engine.images.list()}
    at: Image | None = image
    while at:
        yield at.id
        at = known.get(Digest(at.parent)) if at.parent else None
