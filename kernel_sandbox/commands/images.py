"""Commands about images."""

from __future__ import annotations

import os
import time

import click
import msgspec

from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec import units
from kernel_sandbox.storage.images import Image

_SHORT_ID = 12


_FIELDS = {
    "repository": "Repository", "tag": "Tag", "id": "ID", "created": "CreatedSince", "size": "Size", "digest": "Digest",
    "created_at": "CreatedAt",
}  # fmt: skip
_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
    "Digest": "DIGEST", "CreatedAt": "CREATED AT",
}  # fmt: skip


class ImageRow(msgspec.Struct, frozen=True, rename=_FIELDS):
    """A row of ``images``: one name of one image; to templates its fields have Docker's names."""

    repository: str
    tag: str
    id: str
    created: str
    size: str
    digest: str
    created_at: str


@click.command(cls=Command)
@click.option("-a", "--all", "all_", is_flag=True, help="Show all images.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option(
    "--format", "template", metavar="TEMPLATE", help="Show this of each: a Go template, after `table` or not."
)
@click.argument("repository", required=False)
@click.pass_obj
def images(
    context: Context, all_: bool, quiet: bool, no_trunc: bool, template: str | None, repository: str | None
) -> Result:
    """List images."""
    rows = tuple(row for image in context.engine.images.list() for row in image_rows(image))
    if repository:
        rows = tuple(row for row in rows if _is_named(row, repository))
    shown = rows if no_trunc else tuple(map(_shortened, rows))
    if quiet:
        return Lines(tuple(row.id for row in shown))
    if template:
        return formatted(template, shown, _HEADERS)
    cells = tuple((row.repository, row.tag, row.id, row.created, row.size) for row in shown)
    return Table(tuple(_HEADERS.values())[:5], cells, rows)


def image_rows(image: Image) -> tuple[ImageRow, ...]:
    """An image as rows, one for each of its names, in full."""
    created = f"{units.human_duration((time.time_ns() - image.created) / 1e9)} ago"
    created_at = time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(image.created // 10**9))
    names = [references.parse(tag) for tag in image.tags]
    pairs = [(name.familiar_name, name.tag or "<none>") for name in names] or [("<none>", "<none>")]
    size = units.human_size(image.size)
    return tuple(
        ImageRow(repository, tag, image.id, created, size, image.manifest, created_at) for repository, tag in pairs
    )


def _is_named(row: ImageRow, wanted: str) -> bool:
    parsed = references.parse(wanted)
    has_tag = wanted.rpartition("/")[2].count(":") > 0
    return row.repository == parsed.familiar_name and (not has_tag or row.tag == parsed.tag)


def _shortened(row: ImageRow) -> ImageRow:
    return msgspec.structs.replace(row, id=row.id.partition(":")[2][:_SHORT_ID])


@click.command(cls=Command)
@click.argument("kind", default="python", metavar="[python|busybox]")
@click.pass_obj
def bootstrap(context: Context, kind: str) -> Result:
    """Make an image from this machine, without a registry: its Python (the default), or a static busybox."""
    image, made = context.engine.images.bootstrap(kind)
    name = references.parse(image.tags[0]).familiar() if image.tags else image.id
    return Lines((f"{name} {'made' if made else 'is up to date'} ({units.human_size(image.size)}, {image.id})",))


@click.command("import", cls=Command)
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help='As "CMD [...]" or "ENV A=1".')
@click.option("-m", "--message", default="", help="A note for the image's history.")
@click.argument("source", metavar="FILE|-")
@click.argument("reference", required=False)
@click.pass_obj
def import_(context: Context, changes: tuple[str, ...], message: str, source: str, reference: str | None) -> Result:
    """Make an image of a root filesystem in a tar archive, compressed or not."""
    if source == "-":
        image = context.engine.images.import_(context.stdin, reference, changes, message)
        return Lines((image.id,))
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"cannot import {source}: {(error.strerror or '').lower()}") from error
    try:
        return Lines((context.engine.images.import_(descriptor, reference, changes, message).id,))
    finally:
        os.close(descriptor)


@click.command(cls=Command)
@click.argument("source", metavar="SOURCE_IMAGE[:TAG]")
@click.argument("target", metavar="TARGET_IMAGE[:TAG]")
@click.pass_obj
def tag(context: Context, source: str, target: str) -> Result:
    """Give an image one more name."""
    context.engine.images.tag(source, target)
    return Lines()


@click.command(cls=Command)
@click.option("-f", "--force", is_flag=True, help="Take a name away from an image that a container uses.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def rmi(context: Context, force: bool, images: tuple[str, ...]) -> Result:
    """Remove images."""
    lines: list[str] = []
    errors: list[SandboxError] = []
    for name in images:
        try:
            removed = context.engine.images.remove(name, force)
        except SandboxError as error:
            errors.append(error)
            continue
        lines += (f"Untagged: {tag}" for tag in removed.untagged)
        lines += (f"Deleted: {id_}" for id_ in removed.deleted)
    return Lines(tuple(lines), errors=tuple(errors))
