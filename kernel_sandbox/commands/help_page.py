"""What ``--help`` says: a command's usage, what it does, its flags, and the commands of a group.

Not here: what there is to say, which the declarations have (``syntax``, ``tree``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from textwrap import TextWrapper

from kernel_sandbox.commands.syntax import Option

_LEAST_WIDTH, _USUAL_WIDTH, _GREATEST_WIDTH = 50, 80, 110
_WIDEST_NAME = 30
_INDENT, _GAP = 2, 2

Row = tuple[str, str]


def text(usage: Iterable[str], about: str, options: Iterable[Option], commands: Mapping[str, str]) -> str:
    """Help in paragraphs and lists, without the last line's end. *usage* are the words that a command line has."""
    width = _width()
    program, *words = usage
    lines = _hanging(f"Usage: {program} ", " ".join(words), width)
    for paragraph in about.split("\n\n"):
        lines += ("", *_wrapped(paragraph, width, _INDENT))
    flags = [_flag(option) for option in options if not option.hidden]
    for head, rows in {"Options:": flags, "Commands:": list(commands.items())}.items():
        if rows:
            lines += ("", head, *_list(rows, width))
    return "\n".join(lines)


def _width() -> int:
    """That of the terminal, but a little narrower; within what can be read well."""
    try:
        columns = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        columns = _USUAL_WIDTH
    return max(min(columns, _GREATEST_WIDTH) - 2, _LEAST_WIDTH)


def _flag(option: Option) -> Row:
    names = ", ".join(sorted(option.opts, key=lambda name: name.startswith("--")))
    value = "" if option.is_flag else f" {option.metavar or option.type_name.upper()}"
    return names + value, option.help


def _list(rows: list[Row], width: int) -> Iterator[str]:
    """Two columns; what is too wide for the first one has a line of its own."""
    column = _INDENT + _GAP + min(max(len(name) for name, _ in rows), _WIDEST_NAME)
    for name, description in rows:
        first, *rest = _wrapped(description, width, column) or [""]
        if len(name) > column - _INDENT - _GAP:
            yield " " * _INDENT + name
            yield first
        else:
            yield (" " * _INDENT + name).ljust(column) + first.lstrip()
        yield from rest


def _wrapped(paragraph: str, width: int, indent: int) -> list[str]:
    margin = " " * indent
    return _hanging(margin, " ".join(line.strip() for line in paragraph.splitlines()), width)


def _hanging(head: str, text: str, width: int) -> list[str]:
    """Lines of which all but the first begin below the head's end."""
    return TextWrapper(width, initial_indent=head, subsequent_indent=" " * len(head)).wrap(text)
