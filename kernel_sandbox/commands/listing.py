"""``ps``: containers as rows."""

from __future__ import annotations

import re
import time

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.engine.listing import Listed, listed
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.state import Container, Status

SHORT_ID = 12
NOTHING = "<none>"
_SHORT_COMMAND = 20
_SHORT_MOUNT = 15
_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
    "Ports": "PORTS", "Names": "NAMES", "Size": "SIZE", "State": "STATE", "CreatedAt": "CREATED AT",
    "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES",
}  # fmt: skip
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_RAW = """container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
"""
_ASKS_FOR_SIZE = r"\.Size\b|[\s{(]\.[\s)}]"


class ContainerRow(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of ``ps``, in full; to templates its fields have Docker's names."""

    command: str
    created_at: str
    id: str = msgspec.field(name="ID")
    image: str
    labels: str
    local_volumes: str
    mounts: str
    names: str
    networks: str
    ports: str
    created: str = msgspec.field(name="RunningFor")
    size: str
    state: str
    status: str


@syntax.command(Command)
@syntax.option("-a", "--all", "all_", is_flag=True, help="Show those that do not run, too.")
@filter_option("-f", "--filter")
@syntax.option(
    "--format",
    "template",
    default="",
    metavar="TEMPLATE",
    help="Show this of each: a Go template, after `table` or not; `table`, `json` or `raw`.",
)
@syntax.option("-n", "--last", type=int, default=-1, metavar="N", help="Show the last N, running or not.")
@syntax.option("-l", "--latest", is_flag=True, help="Show the last one, running or not.")
@syntax.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@syntax.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@syntax.option("-s", "--size", is_flag=True, help="Show the bytes that each has written.")
def ps(
    context: Context, /, all_: bool, filters: Filters, template: str, last: int, latest: bool, no_trunc: bool,
    quiet: bool, size: bool,
) -> Result:  # fmt: skip
    """List containers."""
    sizes = size or (not quiet and re.search(_ASKS_FOR_SIZE, template) is not None)
    found = listed(context.engine, filters, all_, 1 if latest and last < 1 else last, sizes)
    if quiet:
        return _ids(found, template, no_trunc)
    now = time.time_ns()
    items = tuple(container_row(each, now) for each in found)
    shown = tuple(as_shown(row, each, no_trunc) for row, each in zip(items, found, strict=True))
    if template in ("", "table"):
        return _table((*_COLUMNS, "Size") if size else _COLUMNS, shown, items)
    if template == "raw":
        template = _RAW + ("size: {{.Size}}\n" if size else "")
    return formatted(template, shown, _HEADERS, tuple(each.labels for each in found))


def _ids(found: tuple[Listed, ...], template: str, no_trunc: bool) -> Result:
    ids = (each.container.id for each in found)
    lines = tuple(id_ if no_trunc else id_[:SHORT_ID] for id_ in ids)
    if template == "raw":
        lines = tuple(f"container_id: {line}" for line in lines)
    if not template:
        return Lines(lines)
    warning = SandboxError("WARNING: Ignoring custom format, because both --format and --quiet are set.")
    warning.exit_code = 0
    return Lines(lines, errors=(warning,))


def _table(columns: tuple[str, ...], shown: tuple[ContainerRow, ...], items: tuple[ContainerRow, ...]) -> Table:
    fields = dict(zip(ContainerRow.__struct_encode_fields__, ContainerRow.__struct_fields__, strict=True))
    cells = tuple(tuple(getattr(row, fields[column]) for column in columns) for row in shown)
    return Table(tuple(_HEADERS[column] for column in columns), cells, items)


def short(id_: str) -> str:
    """An image's id, or a layer's digest, as tables show it."""
    return id_.partition(":")[2][:SHORT_ID]


def container_row(listed_: Listed, now: int) -> ContainerRow:
    """A container as a row, in full."""
    container = listed_.container
    return ContainerRow(
        id=container.id,
        image=listed_.image,
        command=_joined(listed_.command),
        created=f"{age(now - container.created)} ago",
        status=status(container, now),
        ports="",
        names=container.name,
        state=container.status.value,
        created_at=moment(container.created),
        labels=",".join(sorted(f"{key}={value}" for key, value in listed_.labels.items())),
        networks="" if container.options.sharing.network else str(container.options.network),
        size=_size(listed_),
        mounts=",".join(_mounts(container)),
        local_volumes=str(len(container.options.volumes)),
    )


def as_shown(row: ContainerRow, listed_: Listed, no_trunc: bool = False) -> ContainerRow:
    """The row as it is printed: the command quoted, and what is long cut short unless *no_trunc*."""
    if no_trunc:
        return msgspec.structs.replace(row, command=_quoted(row.command))
    return msgspec.structs.replace(
        row,
        id=row.id[:SHORT_ID],
        image=_short_image(row.image, listed_.container.image),
        command=_quoted(shortened(row.command, _SHORT_COMMAND)),
        mounts=",".join(shortened(mount, _SHORT_MOUNT) for mount in _mounts(listed_.container)),
    )


def _short_image(name: str, id_: str) -> str:
    """An id's start; a reference without its digest."""
    if name == id_:
        return name.removeprefix("sha256:")[:SHORT_ID]
    if "@" not in name:
        return name
    from kernel_sandbox.spec import reference

    return msgspec.structs.replace(reference.parse(name), digest=None).familiar()


def _joined(command: tuple[str, ...]) -> str:
    """The command line as Docker tells it: arguments with spaces in single quotes."""
    return " ".join((command[0], *(f"'{argument}'" if " " in argument else argument for argument in command[1:])))


def on_one_line(text: str) -> str:
    """What a stranger says, which is not to give orders to a terminal, nor to break a table."""
    return "".join(character if character.isprintable() else " " for character in text)


def shortened(text: str, length: int) -> str:
    """At most so many characters, the last of them an ellipsis where some are left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _quoted(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from kernel_sandbox.spec.template_values import quote

    return quote(text)


def _size(listed_: Listed) -> str:
    written = units.human_size(listed_.written)
    return f"{written} (virtual {units.human_size(listed_.size)})" if listed_.size else written


def _mounts(container: Container) -> tuple[str, ...]:
    options = container.options
    return (*(bind.source for bind in options.binds), *(volume.name for volume in options.volumes))


def age(nanoseconds: int) -> str:
    """A length of time in Docker's words."""
    return units.human_duration(nanoseconds / 1e9)


def moment(nanoseconds: int) -> str:
    """A point in time where the user is, since the epoch, as Go prints it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(nanoseconds // 10**9))


def status(container: Container, now: int) -> str:
    """``Up 2 minutes (healthy)``, ``Exited (0) 3 seconds ago``…: what Docker says of a container's state."""
    match container.status:
        case Status.RUNNING:
            return f"Up {age(now - container.started)}{_health(container)}"
        case Status.PAUSED:
            return f"Up {age(now - container.started)} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({container.exit_code}) {age(now - container.finished)} ago"
        case Status.EXITED:
            return f"Exited ({container.exit_code}) {age(now - container.finished)} ago"
        case _:
            return "Created"


def _health(container: Container) -> str:
    if container.health is None:
        return ""
    state = container.health.status
    return f" (health: {state})" if state == "starting" else f" ({state})"
