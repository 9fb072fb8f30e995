"""``images --tree``: a drawing of the layers that images stand on, and of what they share.

A stack of layers is a line downwards from the lowest, ``┬ │ └``, which forks where images part, ``├─ └─``; a layer
alone is ``─``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.commands.listing import NOTHING, on_one_line, short, shortened
from kernel_sandbox.commands.results import Result, Table
from kernel_sandbox.engine.image_listing import ListedImage
from kernel_sandbox.engine.layer_tree import Branch, tree
from kernel_sandbox.spec import units

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_HEADERS = ("LAYER", "SIZE", "TOTAL", "SHARED BY", "IMAGE", "CREATED BY")
_SHORT_COMMAND = 45
_NO_LAYER = "(no layer)"
_GLYPHS = {(True, False): "┬ ", (False, False): "│ ", (False, True): "└ ", (True, True): "─ "}
"""What stands before a layer, by whether it is the first of its stack, and whether nothing stands on it."""


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


_Line = tuple[str, LayerRow]


def drawn(engine: Engine, images: Sequence[ListedImage], no_trunc: bool) -> Result:
    """The images' layers, each below the one that it stands on; with *no_trunc* nothing is cut short."""
    branches = tree(engine, images)
    empty = tuple(_name(each) for each in images if not each.image.layers)
    lines = [line for branch in branches for line in _lines(branch)]
    lines += [(_GLYPHS[True, True], LayerRow("", "", 0, 0, 0, 0, (name,), "")) for name in empty]
    cells = tuple(_cells(guide, row, no_trunc) for guide, row in lines)
    return Table(_HEADERS, cells, tuple(row for _, row in lines), caption=_caption(images, lines))


def _lines(branch: Branch, guide: str = "", below: str = "", depth: int = 0, total: int = 0) -> Iterator[_Line]:
    """Rows with what is drawn before them: *guide* before the branch itself, *below* before all that stands on it."""
    stack = _stack(branch)
    for height, each in enumerate(stack):
        total += each.size
        glyph = _GLYPHS[height == 0, not each.branches]
        yield (below if height else guide) + glyph, _row(each, depth + height, total)
    for each in stack[-1].branches:
        fork, trunk = ("└─", "  ") if each is stack[-1].branches[-1] else ("├─", "│ ")
        yield from _lines(each, below + fork, below + trunk, depth + len(stack), total)


def _stack(branch: Branch) -> tuple[Branch, ...]:
    """A branch and what stands on it, up to where images part."""
    stack = [branch]
    while len(stack[-1].branches) == 1:
        stack += stack[-1].branches
    return tuple(stack)


def _row(branch: Branch, depth: int, total: int) -> LayerRow:
    part = branch.part
    return LayerRow(
        diff_id=part.diff_id,
        chain_id=part.layer.chain_id,
        depth=depth,
        size=branch.size,
        total=total,
        users=branch.users,
        images=tuple(map(_name, branch.images)),
        created_by=on_one_line(part.created_by),
    )


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


def _caption(images: Sequence[ListedImage], lines: Sequence[_Line]) -> str:
    """What sharing is good for."""
    layers = [row for _, row in lines if row.diff_id]
    shared = sum(row.users > 1 for row in layers)
    once = units.human_size(sum(row.size for row in layers))
    found = f"{_counted(len(images), 'image')}, {_counted(len(layers), 'layer')}"
    if not shared:
        return f"{found}: {once} on the disk."
    alone = units.human_size(sum(each.image.size for each in images))
    return f"{found}, {shared} of them shared: {once} on the disk instead of {alone}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
