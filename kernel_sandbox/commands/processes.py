"""``top``: the processes of a container, as the machine's own ps lists them."""

from __future__ import annotations

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Context, CreatingCommand
from kernel_sandbox.commands.results import Result, Table
from kernel_sandbox.engine.processes import listed

_MINIMUM_WIDTH = 20


@syntax.command(CreatingCommand)
@syntax.argument("container", metavar="CONTAINER")
@syntax.argument("options", nargs=-1, type=syntax.UNPROCESSED, metavar="[ps OPTIONS]")
def top(context: Context, container: str, options: tuple[str, ...]) -> Result:
    """Show the processes of a container, by ps with these options (-ef)."""
    listing = listed(context.engine.containers.find(container), options)
    return Table(listing.titles, listing.rows, listing.rows, _MINIMUM_WIDTH)
