"""Commands about containers that exist."""

from __future__ import annotations

import os
from collections.abc import Callable

import click
import msgspec

from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Download, Lines, Result
from kernel_sandbox.engine.download import downloaded
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec import ports

_STOP_SECONDS = 10


def each(names: tuple[str, ...], act: Callable[[str], object]) -> Result:
    """Do something to each of several objects, going on after a failure; those done are listed."""
    done, errors = [], []
    for name in names:
        try:
            act(name)
            done.append(name)
        except SandboxError as error:
            errors.append(error)
    return Lines(tuple(done), errors=tuple(errors))


@click.command(cls=Command)
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def rm(context: Context, force: bool, volumes: bool, containers: tuple[str, ...]) -> Result:
    """Remove containers and what they have written."""
    result = each(containers, lambda name: context.engine.containers.remove(name, force, volumes))
    if force:
        return msgspec.structs.replace(result, errors=tuple(map(_as_warning, result.errors)))
    return result


def _as_warning(error: SandboxError) -> SandboxError:
    """With force, what is not there is as good as removed."""
    if isinstance(error, NotFound):
        error.exit_code = 0
    return error


@click.command(cls=Command)
@click.option("-m", "--message", default="", help="A note for the image's history.")
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-p", "--pause", type=bool, default=True, metavar="BOOL", help="Pause it meanwhile.  [default: true]")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help='As "CMD [...]" or "ENV A=1".')
@click.argument("container")
@click.argument("reference", required=False)
@click.pass_obj
def commit(
    context: Context,
    message: str,
    author: str,
    pause: bool,
    changes: tuple[str, ...],
    container: str,
    reference: str | None,
) -> Result:
    """Make an image of what a container has changed."""
    image = context.engine.containers.commit(container, reference, message, author, changes, pause)
    return Lines((image.id,))


@click.command(cls=Command)
@click.option("-o", "--output", metavar="FILE", help="Write to a file rather than to standard output.")
@click.argument("container")
@click.pass_obj
def export(context: Context, output: str | None, container: str) -> Result:
    """Write a container's root filesystem as a tar archive."""
    found = context.engine.containers.find(container)

    def write(target: int) -> None:
        if os.isatty(target):
            raise SandboxError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        context.engine.containers.export(found.id, target)

    if output is None:
        return Download(write)
    with downloaded(output) as target:
        write(target)
    return Lines()


@click.command(cls=Command)
@click.argument("old", metavar="CONTAINER")
@click.argument("new", metavar="NEW_NAME")
@click.pass_obj
def rename(context: Context, old: str, new: str) -> Result:
    """Give a container another name."""
    context.engine.containers.rename(old, new)
    return Lines()


@click.command(cls=Command)
@click.argument("container")
@click.argument("private", required=False, default="", metavar="[PRIVATE_PORT[/PROTO]]")
@click.pass_obj
def port(context: Context, container: str, private: str) -> Result:
    """Show where a container's ports are published: nowhere, since each has a network of its own or the host's."""
    context.engine.containers.find(container)
    if not private:
        return Lines()
    try:
        ports.number(private.partition("/")[0])
    except SandboxError as error:
        raise SandboxError(f"invalid port ({private}): {error}") from None
    raise NotFound(f"No public port '{private}' published for {container}")
