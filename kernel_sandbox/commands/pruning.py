"""``container prune``, ``image prune`` and ``system prune``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.filters import Filters

F = TypeVar("F", bound=Callable[..., object])
_PRECISION = 4


def _force_option(command: F) -> F:
    return syntax.option("-f", "--force", is_flag=True, help="Do not ask.")(command)


def _all_option(command: F) -> F:
    return syntax.option(
        "-a", "--all", "all_", is_flag=True, help="Remove all images without a container, named ones, too."
    )(command)


@syntax.command(Command, "prune")
@filter_option("--filter")
@_force_option
def prune_containers(context: Context, filters: Filters, force: bool) -> Result:
    """Remove all containers that do not run."""
    from kernel_sandbox.engine import pruning

    if not force and not context.confirm("WARNING! This will remove all stopped containers."):
        return Lines()
    pruned = pruning.prune_containers(context.engine, filters, time.localtime().tm_gmtoff)
    return Lines((*_section("Deleted Containers:", pruned.removed), _total(pruned.bytes)))


@syntax.command(Command, "prune")
@_all_option
@filter_option("--filter")
@_force_option
def prune_images(context: Context, all_: bool, filters: Filters, force: bool) -> Result:
    """Remove images that no container uses."""
    from kernel_sandbox.engine import pruning

    if not force and not context.confirm(f"WARNING! This will remove all {_images(all_)}."):
        return Lines()
    pruned = pruning.prune_images(context.engine, all_, filters, time.localtime().tm_gmtoff)
    return Lines((*_section("Deleted Images:", pruned.removed), _total(pruned.bytes)))


@syntax.command(Command, "prune")
@_all_option
@filter_option("--filter")
@_force_option
@syntax.option("--volumes", is_flag=True, help="Remove anonymous volumes without a container, too.")
def prune_system(context: Context, all_: bool, filters: Filters, force: bool, volumes: bool) -> Result:
    """Remove containers that do not run, and what no container uses."""
    from kernel_sandbox.engine import pruning

    if volumes and filters["until"]:
        raise SandboxError('The "until" filter is not supported with "--volumes"')
    if not force and not context.confirm("\n".join(_warning(all_, filters, volumes))):
        return Lines()
    filters.check(*pruning.FILTERS)
    zone = time.localtime().tm_gmtoff
    containers = pruning.prune_containers(context.engine, filters, zone)
    lines = [*_section("Deleted Containers:", containers.removed)]
    freed = containers.bytes
    if volumes:
        without = context.engine.volumes.prune(filters=filters)
        lines += _section("Deleted Volumes:", without.names)
        freed += without.bytes
    images = pruning.prune_images(context.engine, all_, filters, zone)
    lines += _section("Deleted Images:", images.removed)
    return Lines((*lines, _total(freed + images.bytes)))


def _warning(all_: bool, filters: Filters, volumes: bool) -> Iterator[str]:
    yield "WARNING! This will remove:"
    yield "  - all stopped containers"
    yield "  - all networks not used by at least one container"
    if volumes:
        yield "  - all anonymous volumes not used by at least one container"
    yield f"  - all {_images(all_)}"
    yield "  - all build cache" if all_ else "  - unused build cache"
    yield ""
    if filters.given:
        yield "  Items to be pruned will be filtered with:"
        yield from (f"  - {name}={value}" for name, values in sorted(filters.given.items()) for value in values)
        yield ""


def _images(all_: bool) -> str:
    return "images without at least one container associated to them" if all_ else "dangling images"


def _section(title: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return (title, *names, "") if names else ()


def _total(bytes_: int) -> str:
    return f"Total reclaimed space: {units.human_size(bytes_, _PRECISION)}"
