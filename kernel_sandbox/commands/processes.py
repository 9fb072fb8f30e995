"""``top``: the processes of a container, as the machine's own ps lists them."""

from __future__ import annotations

import click

from kernel_sandbox.commands.command import Context, CreatingCommand
from kernel_sandbox.commands.results import Result, Table
from kernel_sandbox.engine.processes import listed

_MINIMUM_WIDTH = 20


@click.command(cls=CreatingCommand)
@click.argument("container", metavar="CONTAINER")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[ps OPTIONS]")
@click.pass_obj
def top(context: Context, container: str, options: tuple[str, ...]) -> Result:
    """Show the processes of a container, by ps with these options (-ef)."""
    listing = listed(context.engine.containers.find(container), options)
    return Table(listing.titles, listing.rows, listing.rows, _MINIMUM_WIDTH)
