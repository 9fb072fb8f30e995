"""``history``: how an image came about."""

from __future__ import annotations

import time

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.listing import on_one_line, short, shortened
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.engine.image_history import Event
from kernel_sandbox.engine.image_history import history as past
from kernel_sandbox.spec import units

_MISSING = "<missing>"
_UNKNOWN = "N/A"
_SHORT_COMMAND = 45
_HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip


class HistoryRow(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of ``history``; to templates its fields have Docker's names."""

    comment: str
    created_at: str
    created_by: str
    created: str = msgspec.field(name="CreatedSince")
    id: str = msgspec.field(name="ID")
    size: str


@syntax.command(Command)
@syntax.option("--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template.")
@syntax.option("-H", "--human", type=bool, default=True, help="Sizes and ages in words; the default.")
@syntax.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@syntax.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@syntax.argument("image")
def history(context: Context, template: str, human: bool, no_trunc: bool, quiet: bool, image: str) -> Result:
    """Show how an image came about."""
    events = past(context.engine, image)
    rows = tuple(history_row(event, human) for event in events)
    shown = rows if no_trunc else tuple(map(_cut, rows))
    if template not in ("", "table"):
        return formatted(template, shown, _HEADERS)
    if quiet:
        return Lines(tuple(row.id for row in shown))
    heads = [_HEADERS["ID"], _HEADERS["CreatedSince" if human else "CreatedAt"], *list(_HEADERS.values())[3:]]
    cells = tuple((row.id, row.created, row.created_by, row.size, row.comment) for row in shown)
    return Table(tuple(heads), cells, rows)


def history_row(event: Event, human: bool) -> HistoryRow:
    """What happened as a row, in full; not *human*: sizes in bytes and moments in place of ages."""
    at = _local(event.created // 10**9)
    age = f"{units.human_duration((time.time_ns() - event.created) / 1e9)} ago" if event.created > 0 else _UNKNOWN
    return HistoryRow(
        id=event.image or _MISSING,
        created=age if human else at,
        created_at=at,
        created_by=on_one_line(event.created_by),
        size=units.human_size(event.size) if human else str(event.size),
        comment=on_one_line(event.comment),
    )


def _local(seconds: int) -> str:
    """A point in time where the user is, to RFC 3339; also of the year 1, which datetime does not have everywhere."""
    at = time.localtime(seconds)
    sign, minutes = "-" if at.tm_gmtoff < 0 else "+", abs(at.tm_gmtoff) // 60
    zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}" if minutes else "Z"
    return f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}T{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}{zone}"


def _cut(row: HistoryRow) -> HistoryRow:
    id_ = row.id if row.id == _MISSING else short(row.id)
    return msgspec.structs.replace(row, id=id_, created_by=shortened(row.created_by, _SHORT_COMMAND))
