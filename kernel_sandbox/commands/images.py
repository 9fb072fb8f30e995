"""Commands that make, name and remove images."""

from __future__ import annotations

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context, FlagsFirstCommand
from kernel_sandbox.commands.flags import quoted
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import NotFound, SandboxError, UsageError
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec import units


@syntax.command(Command)
@syntax.argument("kind", default="python", metavar="[python|busybox]")
def bootstrap(context: Context, kind: str) -> Result:
    """Make an image from this machine, without a registry: its Python (the default), or a static busybox."""
    image, made = context.engine.images.bootstrap(kind)
    name = references.parse(image.tags[0]).familiar() if image.tags else image.id
    return Lines((f"{name} {'made' if made else 'is up to date'} ({units.human_size(image.size)}, {image.id})",))


@syntax.command(FlagsFirstCommand)
@syntax.argument("source", metavar="SOURCE_IMAGE[:TAG]")
@syntax.argument("target", metavar="TARGET_IMAGE[:TAG]")
def tag(context: Context, source: str, target: str) -> Result:
    """Give an image one more name."""
    for name, meaning in ((source, references.parse_any), (target, references.parse)):
        try:
            meaning(name)
        except UsageError as error:
            raise UsageError(
                f"Error parsing reference: {quoted(name)} is not a valid repository/tag: {error}"
            ) from None
    context.engine.images.tag(source, target)
    return Lines()


@syntax.command(Command)
@syntax.option("-f", "--force", is_flag=True, help="Take all names away, even if a container that has ended uses it.")
@syntax.option("--no-prune", is_flag=True, help="Keep the nameless images that it was committed from.")
@syntax.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def rmi(context: Context, force: bool, no_prune: bool, images: tuple[str, ...]) -> Result:
    """Remove images."""
    lines: list[str] = []
    errors: list[SandboxError] = []
    for name in images:
        try:
            removed = context.engine.images.remove(name, force, not no_prune)
        except SandboxError as error:
            if force and isinstance(error, NotFound):
                error.exit_code = 0
            errors.append(error)
            continue
        lines += (f"Untagged: {tag}" for tag in removed.untagged)
        lines += (f"Deleted: {id_}" for id_ in removed.deleted)
    return Lines(tuple(lines), errors=tuple(errors))
