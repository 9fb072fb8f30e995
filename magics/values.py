"""What ``x = %container …`` gives, and how it is drawn: rows of a table, and what a container wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, overload

import msgspec

from kernel_sandbox.commands.results import Table

_LEFT = ' style="text-align: left; white-space: pre"'


class Row(Mapping[str, str]):
    """A row of a table: ``row["IMAGE"]`` is what the table shows, ``row.image`` the value behind it, in full."""

    def __init__(self, headers: tuple[str, ...], cells: tuple[str, ...], item: object) -> None:
        self._cells = dict(zip(headers, cells, strict=True))
        self._item = item

    def __getitem__(self, header: str) -> str:
        return self._cells[header]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._item, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._item)})

    def __repr__(self) -> str:
        return repr(self._item)


class Rows(Sequence[Row]):
    """A table as a sequence of its rows: Docker's text where there is only text, HTML in a notebook."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = tuple(Row(table.headers, *each) for each in zip(table.rows, table.items, strict=True))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return self._table.text()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """IPython's hook: every form in which this can be shown."""
        return {"text/plain": repr(self), "text/html": self._html()}

    def _html(self) -> str:
        head = "".join(f"<th{_LEFT}>{escape(header)}</th>" for header in self._table.headers)
        body = "".join(
            f"<tr>{''.join(f'<td{_LEFT}>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in self._table.rows
        )
        caption = f"<caption>{escape(self._table.caption)}</caption>" if self._table.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Output(msgspec.Struct, frozen=True):
    """What a container wrote, and the status it ended with."""

    stdout: str
    stderr: str
    exit_code: int = 0

    def __str__(self) -> str:
        return self.stdout

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """IPython's hook: as the cell would have shown it."""
        return {"text/plain": "\n".join(filter(None, (self.stdout.rstrip("\n"), self.stderr.rstrip("\n"))))}
