"""What commands return. Front ends show each kind in their own way; ``text`` is what Docker would print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel_sandbox.engine.attachment import Attachment
    from kernel_sandbox.errors import SandboxError
    from kernel_sandbox.runtime.frames import Frame

_MINIMUM_WIDTH = 10
_GAP = 3


@dataclass(frozen=True)
class Result:
    """*errors* are those of single arguments, where the others were carried out."""

    errors: tuple[SandboxError, ...] = field(default=(), kw_only=True)

    def text(self) -> str:
        """As Docker prints it, without the last line's end."""
        return ""


@dataclass(frozen=True)
class Lines(Result):
    """Lines of text: ids, names, help."""

    lines: tuple[str, ...] = ()

    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Table(Result):
    """A table; ``items`` are the objects behind its rows, in the same order."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    items: tuple[object, ...]

    def text(self) -> str:
        lines = (self.headers, *self.rows)
        widths = [max(_MINIMUM_WIDTH, _GAP + max(map(len, column))) for column in zip(*lines, strict=True)]
        return "\n".join(
            "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + line[-1]
            for line in lines
        )


@dataclass(frozen=True)
class Document(Result):
    """JSON, as ``inspect`` writes it."""

    json: str

    def text(self) -> str:
        return self.json


@dataclass(frozen=True)
class Foreground(Result):
    """A container that has been started and belongs to the front end: show its output, pass signals on, end with it.

    ``interactive``: standard input is to be passed on.
    """

    attachment: Attachment
    container: str
    interactive: bool


@dataclass(frozen=True)
class Logs(Result):
    """Output that was written earlier, or goes on to be."""

    frames: Iterator[Frame]


@dataclass(frozen=True)
class Download(Result):
    """Bytes for a descriptor: ``write`` takes it and returns when all is written."""

    write: Callable[[int], None]
