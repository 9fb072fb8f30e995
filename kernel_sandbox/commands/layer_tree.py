"""``images --tree``: a drawing of the layers that images stand on, and of what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.commands.history import on_one_line
from kernel_sandbox.commands.image_listing import NOTHING, short
from kernel_sandbox.commands.listing import shortened
from kernel_sandbox.commands.results import Result, Table
from kernel_sandbox.engine.image_listing import ListedImage
from kernel_sandbox.engine.layer_tree import Branch, tree
from kernel_sandbox.spec import units

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_HEADERS = ("LAYER", "SIZE", "TOTAL", "SHARED BY", "IMAGE", "CREATED BY")
_SHORT_COMMAND = 45
_NO_LAYER = "(no layer)"
_FORK, _LAST_FORK, _TRUNK, _GAP = "├── ", "└── ", "│   ", "    "


class LayerRow(msgspec.Struct, frozen=True):
    """A layer in the drawing.

    ``size`` is in bytes, ``total`` with all layers below it, of which there are ``depth``. ``images`` are the names or
    ids of those that end here, ``users`` the number of images that have it.
    """

    diff_id: str
    chain_id: str
    depth: int
    size: int
    total: int
    users: int
    images: tuple[str, ...]
    created_by: str


def drawn(engine: Engine, images: Sequence[ListedImage], no_trunc: bool) -> Result:
    """The images' layers, each below the one that it stands on; with *no_trunc* nothing is cut short."""
    branches = tree(engine, images)
    empty = tuple(_name(each) for each in images if not each.image.layers)
    lines = [line for branch in branches for line in _lines(branch, "", "", 0, 0)]
    lines += [("", LayerRow("", "", 0, 0, 0, 0, (name,), "")) for name in empty]
    cells = tuple(_cells(guide, row, no_trunc) for guide, row in lines)
    return Table(_HEADERS, cells, tuple(row for _, row in lines), caption=_caption(images, branches, lines))


def _lines(branch: Branch, guide: str, below: str, depth: int, total: int) -> Iterator[tuple[str, LayerRow]]:
    """Rows with what is drawn before them: *guide* before the branch itself, *below* before those that stand on it."""
    part = branch.part
    total += branch.size
    names = tuple(map(_name, branch.images))
    yield (
        guide,
        LayerRow(
            part.diff_id,
            part.layer.chain_id,
            depth,
            branch.size,
            total,
            branch.users,
            names,
            on_one_line(part.created_by),
        ),
    )
    for each in branch.branches:
        fork, trunk = (_LAST_FORK, _GAP) if each is branch.branches[-1] else (_FORK, _TRUNK)
        yield from _lines(each, below + fork, below + trunk, depth + 1, total)


def _name(each: ListedImage) -> str:
    """All names of an image; one without has its id."""
    return ", ".join(tag.familiar() for tag in each.tags) or f"{NOTHING} ({short(each.image.id)})"


def _cells(guide: str, row: LayerRow, no_trunc: bool) -> tuple[str, ...]:
    layer = row.diff_id if no_trunc else short(row.diff_id)
    return (
        guide + (layer or _NO_LAYER),
        units.human_size(row.size),
        units.human_size(row.total),
        f"{row.users} images" if row.users > 1 else "",
        "; ".join(row.images),
        row.created_by if no_trunc else shortened(row.created_by, _SHORT_COMMAND),
    )


def _caption(images: Sequence[ListedImage], branches: Sequence[Branch], lines: Sequence[tuple[str, LayerRow]]) -> str:
    """What sharing is good for."""
    once = sum(row.size for _, row in lines)
    alone = sum(each.image.size for each in images)
    shared = sum(row.users > 1 for _, row in lines)
    layers = _counted(sum(bool(row.diff_id) for _, row in lines), "layer")
    return (
        f"{_counted(len(images), 'image')}, {layers}, {shared} of them shared: {units.human_size(once)} on the disk "
        f"instead of {units.human_size(alone)}."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
