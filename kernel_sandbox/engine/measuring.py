"""How many bytes trees of the store hold, whoever owns what is in them: containers' changes, layers, volumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import tasks
from kernel_sandbox.runtime.launcher import call
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage.images import UNKNOWN_SIZE, Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_AT_ONCE = 100


def sizes(engine: Engine, trees: Sequence[str]) -> tuple[int, ...]:
    """The bytes in the regular files of each tree; 0 for one that is not there."""
    found: list[int] = []
    for start in range(0, len(trees), _AT_ONCE):
        task = tasks.Trees(engine.paths.home, engine.paths.run, tuple(trees[start : start + _AT_ONCE]))
        answer = call(engine.launcher, "measure_trees", tasks.encode(task))
        found += msgspec.msgpack.decode(answer, type=decodable(list[int]))
    return tuple(found)


def layer_sizes(engine: Engine, images: Iterable[Image]) -> dict[Digest, int]:
    """The bytes of each layer of the images, by its chain id.

    Where an older version has not recorded them, they are measured; a layer that is not unpacked, either, has what is
    missing to its image's size.
    """
    ordered = sorted(images, key=lambda image: len(image.layers))
    by_layer = {layer.chain_id: layer.size for image in ordered for layer in image.layers}
    unknown = [chain_id for chain_id, size in by_layer.items() if size == UNKNOWN_SIZE]
    found = sizes(engine, [engine.paths.layer(chain_id) for chain_id in unknown])
    by_layer |= zip(unknown, found, strict=True)
    for image in ordered:
        chain = [layer.chain_id for layer in image.layers]
        missing = [chain_id for chain_id in chain if chain_id in unknown and not by_layer[chain_id]]
        if missing:
            by_layer[missing[-1]] = max(0, image.size - sum(by_layer[chain_id] for chain_id in chain))
    return by_layer
