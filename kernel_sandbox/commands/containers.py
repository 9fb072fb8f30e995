"""Commands about containers that exist."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context, FlagsFirstCommand
from kernel_sandbox.commands.results import Download, Lines, Result
from kernel_sandbox.engine.download import downloaded
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec import ports


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


@syntax.command(Command)
@syntax.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@syntax.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@syntax.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
def rm(context: Context, force: bool, volumes: bool, containers: tuple[str, ...]) -> Result:
    """Remove containers and what they have written."""
    context.engine.warm_up("remove")
    result = each(containers, lambda name: context.engine.containers.remove(name, force, volumes))
    if force:
        return msgspec.structs.replace(result, errors=tuple(map(_as_warning, result.errors)))
    return result


def _as_warning(error: SandboxError) -> SandboxError:
    """With force, what is not there is as good as removed."""
    if isinstance(error, NotFound):
        error.exit_code = 0
    return error


@syntax.command(FlagsFirstCommand)
@syntax.option("-m", "--message", default="", help="A note for the image's history.")
@syntax.option("-a", "--author", default="", help="Who made it.")
@syntax.option("-p", "--pause", type=bool, default=True, metavar="BOOL", help="Pause it meanwhile.  [default: true]")
@syntax.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help='As "CMD [...]" or "ENV A=1".')
@syntax.argument("container")
@syntax.argument("reference", required=False)
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
    context.engine.warm_up("pack_diff")
    image = context.engine.containers.commit(container, reference, message, author, changes, pause)
    return Lines((image.id,))


@syntax.command(Command)
@syntax.option("-o", "--output", metavar="FILE", help="Write to a file rather than to standard output.")
@syntax.argument("container")
def export(context: Context, output: str | None, container: str) -> Result:
    """Write a container's root filesystem as a tar archive."""
    context.engine.warm_up("pack_rootfs")
    found = context.engine.containers.find(container)

    def write(target: int) -> None:
        if os.isatty(target):
            raise SandboxError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        context.engine.containers.export(found.id, target)

    if not output:
        return Download(write)
    with downloaded(output) as target:
        write(target)
    return Lines()


@syntax.command(Command)
@syntax.argument("old", metavar="CONTAINER")
@syntax.argument("new", metavar="NEW_NAME")
def rename(context: Context, old: str, new: str) -> Result:
    """Give a container another name."""
    context.engine.containers.rename(old, new)
    return Lines()


@syntax.command(Command)
@syntax.argument("container")
@syntax.argument("private", required=False, default="", metavar="[PRIVATE_PORT[/PROTO]]")
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
