"""``images``: images as rows, one for each of their names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Invocation
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.listing import NOTHING, age, moment, short
from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.engine.image_listing import ListedImage, listed
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.images import NEVER

_UNKNOWN = "N/A"
_LONGEST = (1 << 63) - 1
_PRECISION = 4
_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE", "Containers": "CONTAINERS",
}  # fmt: skip
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_COLUMNS_WITH_DIGEST = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_RAW_DIGEST = "digest: {{.Digest}}\n"
_RAW = """repository: {{.Repository}}
tag: {{.Tag}}
digest: {{.Digest}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""
_DIGEST = "{{.Digest}}"
_TABLE = "table "


class ImageRow(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A row of ``images``: one name of one image; to templates its fields have Docker's names.

    What only ``system df`` counts is ``N/A``.
    """

    containers: str = _UNKNOWN
    created_at: str
    created: str = msgspec.field(name="CreatedSince")
    digest: str
    id: str = msgspec.field(name="ID")
    repository: str
    shared_size: str = _UNKNOWN
    size: str
    tag: str
    unique_size: str = _UNKNOWN
    virtual_size: str


@syntax.command(Command)
@syntax.option("-a", "--all", "all_", is_flag=True, help="Show nameless images that others were made from, too.")
@syntax.option("--digests", is_flag=True, help="Show what registries know the images by.")
@filter_option("-f", "--filter")
@syntax.option(
    "--format", "template", default="", metavar="TEMPLATE",
    help="Show this of each: a Go template, after `table` or not; `table`, `json` or `raw`.",
)  # fmt: skip
@syntax.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@syntax.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@syntax.option("--tree", is_flag=True, help="Draw the layers, and which images share them.")
@syntax.argument("repository", required=False, default="", metavar="[REPOSITORY[:TAG]]")
@syntax.pass_invocation
def images(
    invocation: Invocation, /, all_: bool, digests: bool, filters: Filters, template: str, no_trunc: bool,
    quiet: bool, tree: bool, repository: str,
) -> Result:  # fmt: skip
    """List images. REPOSITORY may have wildcards, as `team/*:v?`."""
    context = invocation.context
    if repository:
        filters = filters.also("reference", repository)
    found = listed(context.engine, filters, all_)
    if tree:
        if quiet or digests or template:
            raise UsageError("--quiet, --digests and --format are not supported with --tree")
        from kernel_sandbox.commands.layer_tree import drawn

        return drawn(context.engine, found, no_trunc)
    rows = tuple(row for each in found for row in image_rows(each, digests or _DIGEST in template))
    result = _shown(rows, template, digests, quiet, no_trunc)
    hint = _hint(invocation, repository) if repository and not found else ()
    return msgspec.structs.replace(result, errors=hint)


def _shown(rows: tuple[ImageRow, ...], template: str, digests: bool, quiet: bool, no_trunc: bool) -> Result:
    shown = rows if no_trunc else tuple(msgspec.structs.replace(row, id=short(row.id)) for row in rows)
    if template in ("", "table"):
        if quiet:
            return Lines(tuple(row.id for row in shown))
        dated = tuple(msgspec.structs.replace(row, created=row.created or _UNKNOWN) for row in shown)
        return _table(_COLUMNS_WITH_DIGEST if digests else _COLUMNS, dated, rows)
    if template == "raw":
        if quiet:
            return Lines(tuple(f"image_id: {row.id}" for row in shown))
        template = _RAW if digests else _RAW.replace(_RAW_DIGEST, "")
    elif digests and template.startswith(_TABLE) and _DIGEST not in template:
        template += f"\t{_DIGEST}"
    return formatted(template, shown, _HEADERS)


def _table(columns: tuple[str, ...], shown: tuple[ImageRow, ...], items: tuple[ImageRow, ...]) -> Table:
    fields = dict(zip(ImageRow.__struct_encode_fields__, ImageRow.__struct_fields__, strict=True))
    cells = tuple(tuple(getattr(row, fields[column]) for column in columns) for row in shown)
    return Table(tuple(_HEADERS[column] for column in columns), cells, items)


def image_rows(each: ListedImage, digests: bool = False) -> tuple[ImageRow, ...]:
    """An image as rows, one for each of its names and, with *digests*, what registries know these by; in full."""
    image = each.image
    created, created_at = _since(image.created), _at(image.created)
    size, virtual_size = units.human_size(image.size), units.human_size(image.size, _PRECISION)
    return tuple(
        ImageRow(
            created_at=created_at, created=created, digest=digest, id=image.id, repository=repository, size=size,
            tag=tag, virtual_size=virtual_size,
        )
        for repository, tag, digest in _names(each, digests)
    )  # fmt: skip


def _since(created: int) -> str:
    """Go has no longer time than ``_LONGEST``."""
    return "" if created == NEVER else f"{age(min(time.time_ns() - created, _LONGEST))} ago"


def _at(created: int) -> str:
    return "0001-01-01 00:00:00 +0000 UTC" if created == NEVER else moment(created)


def _names(each: ListedImage, digests: bool) -> Iterator[tuple[str, str, str]]:
    """Repository, tag and digest of each row, as Docker's client pairs them."""
    known = {name: tuple(group) for name, group in groupby(each.digests, lambda digest: digest.familiar_name)}
    if not each.tags and not known:
        yield NOTHING, NOTHING, NOTHING
    for tag in each.tags:
        of_repository = known.get(tag.familiar_name, ()) if digests else ()
        for digest in (str(name.digest) for name in of_repository) if of_repository else (NOTHING,):
            yield tag.familiar_name, tag.tag or NOTHING, digest
    tagged = {tag.familiar_name for tag in each.tags}
    for repository, names in known.items():
        if repository not in tagged:
            for digest in (str(name.digest) for name in names) if digests else ("",):
                yield repository, NOTHING, digest


def _hint(invocation: Invocation, word: str) -> tuple[SandboxError, ...]:
    """Who writes ``images rm`` means ``image rm``."""
    from kernel_sandbox.commands.tree import image

    if invocation.words[-1] != "images" or word not in image.summaries:
        return ()
    hint = SandboxError(f'No images found matching "{word}": did you mean "image {word}"?')
    hint.exit_code = 0
    return (hint,)
