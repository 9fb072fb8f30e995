"""``system df``: a line for each kind of thing that takes space, or one for each thing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import formatted, rendered
from kernel_sandbox.commands.image_listing import ImageRow, image_rows
from kernel_sandbox.commands.listing import ContainerRow, as_shown, container_row, short
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.commands.volumes import VolumeRow, volume_row
from kernel_sandbox.spec import units

if TYPE_CHECKING:
    from kernel_sandbox.engine.disk import DiskUsage

_HEADERS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
}  # fmt: skip
_RAW = """type: {{.Type}}
total: {{.TotalCount}}
active: {{.Active}}
size: {{.Size}}
reclaimable: {{.Reclaimable}}
"""
_PRECISION = 4


class UsageRow(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of ``system df``: a kind of thing; to templates its fields have Docker's names."""

    active: str
    reclaimable: str
    size: str
    total_count: str
    type: str


class UsageRows(msgspec.Struct, frozen=True, rename="pascal"):
    """What a template of ``system df -v`` sees."""

    images: tuple[ImageRow, ...]
    containers: tuple[ContainerRow, ...]
    volumes: tuple[VolumeRow, ...]
    build_cache: tuple[str, ...] = ()


@syntax.command(Command)
@syntax.option("--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template.")
@syntax.option("-v", "--verbose", is_flag=True, help="Tell of each thing.")
def df(context: Context, template: str, verbose: bool) -> Result:
    """Show how much space images, containers and volumes take."""
    from kernel_sandbox.engine.disk import usage

    found = usage(context.engine)
    as_table = template in ("", "table")
    if verbose:
        rows = _in_detail(context, found, in_full=not as_table)
        return Lines(_tables(rows)) if as_table else rendered(template, (rows,), strict=False)
    summary = _summary(found)
    if not as_table:
        return formatted(_RAW if template == "raw" else template, summary, _HEADERS)
    cells = tuple((row.type, row.total_count, row.active, row.size, row.reclaimable) for row in summary)
    return Table(tuple(_HEADERS.values()), cells, summary)


def _summary(found: DiskUsage) -> tuple[UsageRow, ...]:
    idle = [each for each in found.containers if not each.container.is_active]
    unused = [each for each in found.volumes if not each.volume.containers]
    written = sum(each.written for each in found.containers)
    kept = sum(each.size for each in found.volumes)
    in_use = sum(each.unique for each in found.images if each.containers)
    return (
        _row("Images", len(found.images), sum(bool(each.containers) for each in found.images), found.layers,
             found.layers - in_use),
        _row("Containers", len(found.containers), len(found.containers) - len(idle), written,
             sum(each.written for each in idle)),
        _row("Local Volumes", len(found.volumes), len(found.volumes) - len(unused), kept,
             sum(each.size for each in unused)),
        _row("Build Cache", 0, 0, 0, 0),
    )  # fmt: skip


def _row(type_: str, total: int, active: int, size: int, reclaimable: int) -> UsageRow:
    share = f" ({reclaimable * 100 // size}%)" if size else ""
    return UsageRow(
        active=str(active),
        reclaimable=f"{_size(reclaimable)}{share}",
        size=_size(size),
        total_count=str(total),
        type=type_,
    )


def _size(bytes_: int) -> str:
    return units.human_size(bytes_, _PRECISION)


def _in_detail(context: Context, found: DiskUsage, in_full: bool) -> UsageRows:
    now = time.time_ns()
    images = tuple(
        msgspec.structs.replace(
            image_rows(each.listed)[0],
            id=each.listed.image.id if in_full else short(each.listed.image.id),
            shared_size=_size(each.shared),
            unique_size=_size(each.unique),
            containers=str(each.containers),
        )
        for each in found.images
    )
    return UsageRows(
        images=images,
        containers=tuple(
            _without_image(as_shown(container_row(each, now), each, in_full)) for each in found.containers
        ),
        volumes=tuple(
            msgspec.structs.replace(
                volume_row(context, each.volume),
                links=str(len(each.volume.containers)),
                size=units.human_size(each.size),
            )
            for each in found.volumes
        ),
    )


def _without_image(row: ContainerRow) -> ContainerRow:
    """Without the bytes that it has in common with its image, which are told beside that."""
    return msgspec.structs.replace(row, size=row.size.partition(" ")[0])


def _tables(rows: UsageRows) -> tuple[str, ...]:
    images = tuple(
        (row.repository, row.tag, row.id, row.created, row.size, row.shared_size, row.unique_size, row.containers)
        for row in rows.images
    )
    containers = tuple(
        (row.id, row.image, row.command, row.local_volumes, row.size, row.created, row.status, row.names)
        for row in rows.containers
    )  # fmt: skip
    volumes = tuple((row.name, row.links, row.size) for row in rows.volumes)
    return (
        "Images space usage:\n",
        _text("REPOSITORY,TAG,IMAGE ID,CREATED,SIZE,SHARED SIZE,UNIQUE SIZE,CONTAINERS", images),
        "\nContainers space usage:\n",
        _text("CONTAINER ID,IMAGE,COMMAND,LOCAL VOLUMES,SIZE,CREATED,STATUS,NAMES", containers),
        "\nLocal Volumes space usage:\n",
        _text("VOLUME NAME,LINKS,SIZE", volumes),
        "\nBuild cache usage: 0B\n",
        _text("CACHE ID,CACHE TYPE,SIZE,CREATED,LAST USED,USAGE,SHARED", ()),
    )


def _text(headers: str, cells: tuple[tuple[str, ...], ...]) -> str:
    return Table(tuple(headers.split(",")), cells, cells).text()
