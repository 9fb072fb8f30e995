"""What commands return. Front ends show each kind in their own way; ``text`` is what Docker would print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from kernel_sandbox.engine.attachment import Attachment
    from kernel_sandbox.errors import SandboxError
    from kernel_sandbox.runtime.frames import Frame
    from kernel_sandbox.spec.progress import Tell

_MINIMUM_WIDTH = 10
_GAP = 3


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """*errors* are those of single arguments, where the others were carried out."""

    errors: tuple[SandboxError, ...] = ()

    def text(self) -> str:
        """As Docker prints it, without the last line's end."""
        return ""

    def printed(self) -> str:
        """As Docker prints it."""
        text = self.text()
        return f"{text}\n" if text else ""


class Lines(Result, frozen=True):
    """Lines of text: ids, names, help."""

    lines: tuple[str, ...] = ()

    def text(self) -> str:
        return "\n".join(self.lines)

    def printed(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


class Table(Result, frozen=True):
    """A table; ``items`` are the objects behind its rows, in the same order. ``caption`` says what they amount to."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    items: tuple[object, ...]
    minimum_width: int = _MINIMUM_WIDTH
    caption: str = ""

    def text(self) -> str:
        lines = (self.headers, *self.rows)
        widths = [max(self.minimum_width, _GAP + max(map(len, column))) for column in zip(*lines, strict=True)]
        table = "\n".join(
            "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + line[-1]
            for line in lines
        )
        return f"{table}\n\n{self.caption}" if self.caption else table


class Document(Result, frozen=True):
    """JSON, as ``inspect`` writes it."""

    json: str

    def text(self) -> str:
        return self.json


class Foreground(Result, frozen=True):
    """A process that runs and that the front end is attached to: show its output, pass signals on, end with it.

    ``interactive``: standard input is to be passed on. ``tty``: it has a terminal; the front end's own, if it is one,
    becomes its other end. ``detach_keys`` are what leaves it running, empty for the usual ones. Where not
    ``proxies_signals``, they are the front end's own affair. ``streams`` are those to be shown, empty for all.
    ``is_left_with_error``: to leave it by the keys counts as a failure, as Docker has it but for what it has started.
    """

    attachment: Attachment
    interactive: bool
    tty: bool = False
    detach_keys: str = ""
    proxies_signals: bool = True
    streams: tuple[str, ...] = ()
    is_left_with_error: bool = False


class Logs(Result, frozen=True):
    """Output that was written earlier, or goes on to be."""

    frames: Iterator[Frame]


class Stream(Result, frozen=True):
    """Lines that come as something happens, perhaps without an end."""

    lines: Iterator[str]


class Live(Result, frozen=True):
    """Something that changes: each view takes the place of the one before."""

    views: Iterator[Result]


class Download(Result, frozen=True):
    """Bytes for a descriptor: ``write`` takes it and returns when all is written."""

    write: Callable[[int], None]


class Transfer(Result, frozen=True):
    """Work on images, part by part: ``steps`` does it, tells how it gets on, and returns the last lines."""

    steps: Callable[[Tell], tuple[str, ...]]
