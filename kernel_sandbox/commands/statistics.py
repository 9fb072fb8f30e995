"""``stats``: what containers use, once or again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.results import Live, Result, Table
from kernel_sandbox.engine.statistics import Meter, Statistics
from kernel_sandbox.errors import NotFound
from kernel_sandbox.spec.units import binary_size, human_size
from kernel_sandbox.storage.state import Container

_SECONDS_BETWEEN = 1.0
_SECONDS_TO_FIRST = 0.25
_SHORT_ID = 12
_HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip


class StatisticsRow(msgspec.Struct, frozen=True):
    """A row of ``stats``; to templates its fields have Docker's names."""

    container: str = msgspec.field(name="Container")
    id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    cpu: str = msgspec.field(name="CPUPerc")
    memory: str = msgspec.field(name="MemUsage")
    memory_share: str = msgspec.field(name="MemPerc")
    network: str = msgspec.field(name="NetIO")
    block: str = msgspec.field(name="BlockIO")
    pids: str = msgspec.field(name="PIDs")


_Rows = tuple[StatisticsRow, ...]


@syntax.command(Command)
@syntax.option("-a", "--all", "all_", is_flag=True, help="Show those that do not run, too.")
@syntax.option("--no-stream", is_flag=True, help="Show it once.")
@syntax.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@syntax.option(
    "--format",
    "template",
    default="table",
    metavar="TEMPLATE",
    help="Show this of each: a Go template, after `table` or not; `table` or `json`.",
)
@syntax.argument("containers", nargs=-1, metavar="[CONTAINER...]")
def stats(
    context: Context, all_: bool, no_stream: bool, no_trunc: bool, template: str, containers: tuple[str, ...]
) -> Result:
    """Show what containers use of processors, memory, network and disks."""

    for name in containers:
        context.engine.containers.find(name)

    def shown(rows: tuple[StatisticsRow, ...]) -> Result:
        if template == "table":
            cells = tuple((r.id, r.name, r.cpu, r.memory, r.memory_share, r.network, r.block, r.pids) for r in rows)
            return Table(tuple(_HEADERS.values())[1:], cells, rows)
        return formatted(template, rows, _HEADERS)

    readings = _readings(lambda: _chosen(context, containers, all_), no_trunc)
    if no_stream:
        next(readings)
        time.sleep(_SECONDS_BETWEEN)
        return shown(next(readings))
    return Live(map(shown, _in_time(readings, has_names=bool(containers))))


def _chosen(context: Context, names: tuple[str, ...], all_: bool) -> Iterator[tuple[str, Container]]:
    """The containers that are wanted and there, as they were named."""
    if not names:
        yield from ((found.id[:_SHORT_ID], found) for found in context.engine.containers.list(all_))
    for name in names:
        with contextlib.suppress(NotFound):
            yield name, context.engine.containers.find(name)


def _readings(choose: Callable[[], Iterator[tuple[str, Container]]], full_ids: bool) -> Iterator[_Rows]:
    """The rows, of what there is whenever the next are asked for."""
    meter = Meter()
    while True:
        chosen = tuple(choose())
        found = meter.read(container for _, container in chosen)
        yield tuple(_row(key, each, full_ids) for (key, _), each in zip(chosen, found, strict=True))


def _in_time(readings: Iterator[_Rows], has_names: bool) -> Iterator[_Rows]:
    """A reading now and then, the first soon; until the last of the named containers has been removed."""
    next(readings)
    time.sleep(_SECONDS_TO_FIRST)
    for rows in readings:
        if has_names and not rows:
            return
        yield rows
        time.sleep(_SECONDS_BETWEEN)


def _row(key: str, found: Statistics, full_id: bool) -> StatisticsRow:
    usage = found.usage
    return StatisticsRow(
        container=key,
        id=found.container.id if full_id else found.container.id[:_SHORT_ID],
        name=found.container.name,
        cpu=f"{found.cpu:.2f}%",
        memory=f"{binary_size(usage.memory)} / {binary_size(usage.memory_limit)}",
        memory_share=f"{found.memory:.2f}%",
        network=f"{human_size(usage.received)} / {human_size(usage.sent)}",
        block=f"{human_size(usage.read)} / {human_size(usage.written)}",
        pids=str(usage.pids),
    )
