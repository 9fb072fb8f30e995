"""The layers of images as a tree: each stands on the one below it, and images that begin alike share a trunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import measuring
from kernel_sandbox.engine.image_listing import ListedImage
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage.images import Layer

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine


class Part(msgspec.Struct, frozen=True):
    """A layer as an image tells of it."""

    layer: Layer
    diff_id: str
    created_by: str = ""


class Branch(msgspec.Struct, frozen=True):
    """A layer with all that stands on it.

    ``size`` is in bytes; ``images`` end here, and ``users`` counts these and those that go on in ``branches``.
    """

    part: Part
    size: int
    images: tuple[ListedImage, ...]
    branches: tuple[Branch, ...]
    users: int


def tree(engine: Engine, images: Sequence[ListedImage]) -> tuple[Branch, ...]:
    """The trees that the images' layers make, oldest images first; an image without layers is in none."""
    sizes = measuring.layer_sizes(engine, [each.image for each in images])
    parts = [(each, tuple(_parts(engine, each))) for each in reversed(images)]

    def branches(stacks: Sequence[tuple[ListedImage, tuple[Part, ...]]], depth: int) -> tuple[Branch, ...]:
        above: dict[Digest, list[tuple[ListedImage, tuple[Part, ...]]]] = {}
        for stack in stacks:
            if len(stack[1]) > depth:
                above.setdefault(stack[1][depth].layer.chain_id, []).append(stack)
        return tuple(
            Branch(
                part=group[0][1][depth],
                size=sizes[chain_id],
                images=tuple(each for each, stack in group if len(stack) == depth + 1),
                branches=branches(group, depth + 1),
                users=len(group),
            )
            for chain_id, group in above.items()
        )

    return branches(parts, 0)


def _parts(engine: Engine, each: ListedImage) -> Iterator[Part]:
    """The image's layers, bottom first; of a damaged image only what the database knows."""
    try:
        config = engine.images.config(each.image)
    except SandboxError:
        yield from (Part(layer, layer.chain_id) for layer in each.image.layers)
        return
    events = iter([event.created_by or event.comment for event in config.history if not event.empty_layer])
    for layer, diff_id in zip(each.image.layers, config.rootfs.diff_ids, strict=True):
        yield Part(layer, diff_id, next(events, ""))
