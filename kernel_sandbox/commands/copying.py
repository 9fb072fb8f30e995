"""Commands that look at a container's files from outside: ``diff`` and ``cp``."""

from __future__ import annotations

import os
import sys

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Download, Lines, Result
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.copying import STREAM, parse_route


@syntax.command(Command)
@syntax.argument("container")
def diff(context: Context, container: str) -> Result:
    """Show what a container has added (A), changed (C) and deleted (D) in its image's files."""
    context.engine.warm_up("diff")
    changes = context.engine.containers.diff(container)
    return Lines(tuple(f"{change.kind} {change.path.decode(errors='replace')}" for change in changes))


@syntax.command(Command)
@syntax.option("-a", "--archive", is_flag=True, help="Keep the owners' numbers.")
@syntax.option("-L", "--follow-link", is_flag=True, help="Copy what a symbolic link at the source leads to.")
@syntax.option("-q", "--quiet", is_flag=True, help="Do not say on a terminal what was copied.")
@syntax.argument("source", metavar="CONTAINER:SRC_PATH|SRC_PATH|-")
@syntax.argument("destination", metavar="DEST_PATH|-|CONTAINER:DEST_PATH")
def cp(context: Context, archive: bool, follow_link: bool, quiet: bool, source: str, destination: str) -> Result:
    """Copy files between a container, running or not, and this machine; - is a tar archive."""
    route = parse_route(source, destination)
    context.engine.warm_up("copy_in" if route.is_inward else "copy_out")
    containers = context.engine.containers
    if route.is_inward:
        origin = context.stdin if route.source == STREAM else route.source
        copied = containers.copy_to(route.container, origin, route.destination, follow_link, archive)
    elif route.destination == STREAM:
        return Download(lambda target: _download(context, route.container, route.source, target, follow_link))
    else:
        copied = containers.copy_from(route.container, route.source, route.destination, follow_link, archive)
    if quiet or not copied or not sys.stdout.isatty():
        return Lines()
    where = destination if route.is_inward else os.path.abspath(destination)
    return Lines((f"Successfully copied {units.human_size(copied)} to {where}",))


def _download(context: Context, container: str, path: str, target: int, follow_link: bool) -> None:
    if os.isatty(target):
        raise SandboxError("cowardly refusing to copy to a terminal. Name a destination or redirect")
    context.engine.containers.copy_from(container, path, target, follow_link)
