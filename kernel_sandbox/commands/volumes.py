"""Commands about volumes."""

from __future__ import annotations

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.containers import each
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.inspection import format_option, inspected
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.engine.volumes import DRIVER
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.volumes import Volume

_HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
    "Links": "LINKS", "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip
_COLUMNS = ("Driver", "Name")
_RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n"
_UNKNOWN = "N/A"
_WARNING = "WARNING! This will remove {} volumes not used by at least one container."


class VolumeRow(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of ``volume ls``; to templates its fields have Docker's names. What Docker leaves open is ``N/A``."""

    availability: str
    driver: str
    group: str
    labels: str
    links: str
    mountpoint: str
    name: str
    scope: str
    size: str
    status: str


@syntax.command(Command, "create")
@syntax.option("-d", "--driver", default=DRIVER, show_default=True, metavar="NAME", help="The only one is local.")
@syntax.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="Attach a label.")
@syntax.option("--name", "name_", default="", hidden=True)
@syntax.option("-o", "--opt", "options", multiple=True, metavar="NAME=VALUE", help="The local driver has none here.")
@syntax.argument("name", required=False, default="", metavar="VOLUME")
def create(
    context: Context, driver: str, labels: tuple[str, ...], name_: str, options: tuple[str, ...], name: str
) -> Result:
    """Make a volume, with a name of its own if none is given."""
    chosen = name or name_
    if driver != DRIVER:
        raise NotFound(f'create {chosen}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    if options:
        raise SandboxError(f'create {chosen}: invalid option: "{options[0].partition("=")[0]}"')
    pairs = (label.partition("=") for label in labels)
    return Lines((context.engine.volumes.create(chosen, {key: value for key, _, value in pairs}).name,))


@syntax.command(Command, "inspect")
@format_option
@syntax.argument("volumes", nargs=-1, required=True, metavar="VOLUME...")
def inspect(context: Context, template: str, volumes: tuple[str, ...]) -> Result:
    """Show all about volumes, as JSON."""
    return inspected(volumes, context.engine.volumes.document, template)


@syntax.command(Command, "ls")
@filter_option("-f", "--filter")
@syntax.option("--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template.")
@syntax.option("-q", "--quiet", is_flag=True, help="Show names only.")
def ls(context: Context, filters: Filters, template: str, quiet: bool) -> Result:
    """List volumes."""
    volumes = context.engine.volumes.list(filters)
    rows = tuple(volume_row(context, found) for found in volumes)
    if quiet and not template:
        return Lines(tuple(row.name for row in rows))
    if template in ("", "table"):
        cells = tuple((row.driver, row.name) for row in rows)
        return Table(tuple(_HEADERS[column] for column in _COLUMNS), cells, rows)
    return formatted(_RAW if template == "raw" else template, rows, _HEADERS, tuple(each.labels for each in volumes))


def volume_row(context: Context, found: Volume) -> VolumeRow:
    """A volume as a row, in full."""
    return VolumeRow(
        availability=_UNKNOWN,
        driver=DRIVER,
        group=_UNKNOWN,
        labels=",".join(sorted(f"{key}={value}" for key, value in found.labels.items())),
        links=_UNKNOWN,
        mountpoint=context.engine.volumes.mountpoint(found),
        name=found.name,
        scope=DRIVER,
        size=_UNKNOWN,
        status=_UNKNOWN,
    )


@syntax.command(Command, "rm")
@syntax.option("-f", "--force", is_flag=True, help="Do not mind those that do not exist.")
@syntax.argument("volumes", nargs=-1, required=True, metavar="VOLUME...")
def rm(context: Context, force: bool, volumes: tuple[str, ...]) -> Result:
    """Remove volumes that no container has."""

    def remove(name: str) -> None:
        try:
            context.engine.volumes.remove(name)
        except NotFound:
            if not force:
                raise

    return each(volumes, remove)


@syntax.command(Command, "prune")
@syntax.option("-a", "--all", "all_", is_flag=True, help="Those that have a name, too.")
@filter_option("--filter")
@syntax.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(context: Context, all_: bool, filters: Filters, force: bool) -> Result:
    """Remove the anonymous volumes that no container has."""
    warning = _WARNING.format("all local" if all_ else "anonymous local")
    if not force and not context.confirm(warning):
        return Lines()
    pruned = context.engine.volumes.prune(all_, filters)
    deleted = ("Deleted Volumes:", *pruned.names, "") if pruned.names else ()
    return Lines((*deleted, f"Total reclaimed space: {units.human_size(pruned.bytes)}"))
