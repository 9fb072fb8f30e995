"""Commands that move images between the store and registries."""

from __future__ import annotations

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Lines, Result, Transfer
from kernel_sandbox.engine.creation import image_to_run
from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.spec.progress import Progress, Tell, tell_nobody
from kernel_sandbox.spec.reference import DEFAULT_TAG, Reference

_ALL_TAGS = syntax.option("-a", "--all-tags", is_flag=True, help="Every tag of the repository.")
_QUIET = syntax.option("-q", "--quiet", is_flag=True, help="Print the name alone, when it is done.")


@syntax.command(Command)
@_ALL_TAGS
@syntax.option(
    "--platform",
    default="",
    envvar="DOCKER_DEFAULT_PLATFORM",
    metavar="OS[/ARCH[/VARIANT]]",
    help="The image for this platform, not this machine's.",
)
@_QUIET
@syntax.argument("name", metavar="IMAGE[:TAG|@DIGEST]")
def pull(context: Context, all_tags: bool, platform: str, quiet: bool, name: str) -> Result:
    """Fetch an image from a registry."""

    def steps(tell: Tell) -> tuple[str, ...]:
        wanted = named(name, all_tags, tell)
        with context.engine.transfers() as transfers:
            transfers.pull(wanted, platform, tell)
        return (str(wanted),)

    return Lines(steps(tell_nobody)) if quiet else Transfer(steps)


@syntax.command(Command)
@_ALL_TAGS
@_QUIET
@syntax.argument("name", metavar="IMAGE[:TAG]")
def push(context: Context, all_tags: bool, quiet: bool, name: str) -> Result:
    """Give an image to a registry, under the name that it has."""

    def steps(tell: Tell) -> tuple[str, ...]:
        wanted = named(name, all_tags, tell)
        if wanted.digest:
            raise UsageError("cannot push a digest reference")
        with context.engine.transfers() as transfers:
            last = transfers.push(wanted, tell)
        return (str(wanted),) if quiet else (last,)

    return Lines(steps(tell_nobody)) if quiet else Transfer(steps)


def named(text: str, all_tags: bool, tell: Tell) -> Reference:
    """The repository where *all_tags* are meant, else what is meant in it. Raises UsageError, in Docker's words."""
    wanted = references.parse(text, None)
    is_whole = not (wanted.tag or wanted.digest)
    if all_tags:
        if not is_whole:
            raise UsageError("tag can't be used with --all-tags/-a")
        return wanted
    if is_whole:
        tell(Progress(f"Using default tag: {DEFAULT_TAG}"))
    return references.parse(text)


def provide(context: Context, wanted: ContainerOptions, pull: str, is_quiet: bool) -> None:
    """Have the image that a container is to be made from in the store, fetched where *pull* says so.

    ``missing``: where it is not there. Raises NotFound, RegistryError, CorruptContent.
    """
    if pull == "never" or (pull == "missing" and _is_here(context, wanted)):
        return
    reference = references.parse(wanted.image)
    with context.telling() as tell:
        if is_quiet:
            tell = tell_nobody
        if pull == "missing":
            tell(Progress(f"Unable to find image '{reference.familiar()}' locally"))
        with context.engine.transfers() as transfers:
            transfers.pull(reference, wanted.platform, tell)


def _is_here(context: Context, wanted: ContainerOptions) -> bool:
    """Whether the image is in the store. Raises NotFound for what cannot be fetched: an id."""
    try:
        image_to_run(context.engine.images, wanted)
    except NotFound:
        if isinstance(references.parse_any(wanted.image), Digest):
            raise
        return False
    return True
