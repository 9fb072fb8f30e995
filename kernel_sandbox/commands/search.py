"""``search``: images that a registry offers."""

from __future__ import annotations

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.formatting import formatted
from kernel_sandbox.commands.listing import on_one_line, shortened
from kernel_sandbox.commands.results import Result, Table
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.distribution import SearchResult
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.progress import Progress
from kernel_sandbox.spec.reference import DEFAULT_DOMAIN

_MOST = 100
_USUAL = 25
_WIDTH = 45
_NO_AUTOMATED = (
    'WARNING: the "is-automated" filter is deprecated, and searching for "is-automated=true" will not yield any '
    "results in future."
)
_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}


class SearchRow(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of ``search``; to templates its fields have Docker's names."""

    description: str
    is_official: str
    name: str
    star_count: str


@syntax.command(Command)
@filter_option("-f", "--filter")
@syntax.option("--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template.")
@syntax.option("--limit", type=int, default=0, metavar="N", help=f"At most so many, up to {_MOST} ({_USUAL}).")
@syntax.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@syntax.argument("term", metavar="[HOST/]TERM")
def search(context: Context, filters: Filters, template: str, limit: int, no_trunc: bool, term: str) -> Result:
    """Search Docker Hub for images, or another registry for names."""
    from kernel_sandbox.engine import registry_access

    stars = _stars(filters)
    official, automated = filters.flag("is-official"), filters.flag("is-automated")
    if limit > _MOST:
        raise UsageError(f"Limit {limit} is outside the range of [1, {_MOST}]")
    if filters["is-automated"]:
        with context.telling() as tell:
            tell(Progress(_NO_AUTOMATED))
    domain, words = _place(term)
    found = registry_access.search(context.environment, domain, words, limit if limit > 0 else _USUAL)
    wanted = (
        each
        for each in found
        if each.star_count >= stars and official in (None, each.is_official) and automated in (None, each.is_automated)
    )
    rows = tuple(_row(each, no_trunc, template) for each in wanted)
    if template not in ("", "table"):
        return formatted(template, rows, _HEADERS)
    cells = tuple((row.name, row.description, row.star_count, row.is_official) for row in rows)
    return Table(tuple(_HEADERS.values()), cells, rows)


def _stars(filters: Filters) -> int:
    """The number of stars that is asked for. Raises SandboxError for what is no filter of ``search``."""
    filters.check("is-automated", "is-official", "stars")
    for text in filters["stars"]:
        if not text.removeprefix("-").isdecimal():
            raise SandboxError(f"Invalid filter 'stars={text}'")
    return max(map(int, filters["stars"]), default=0)


def _place(term: str) -> tuple[str, str]:
    """The registry that is searched and the words that are looked for there."""
    if "://" in term:
        raise UsageError('Invalid repository name (ex: "registry.domain.tld/myrepos")')
    host, slash, words = term.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return (DEFAULT_DOMAIN if host in (DEFAULT_DOMAIN, f"index.{DEFAULT_DOMAIN}") else host), words
    return DEFAULT_DOMAIN, term


def _row(found: SearchResult, no_trunc: bool, template: str) -> SearchRow:
    """A row, with "true" and "false" where it becomes JSON; a stranger's text gives no orders to a terminal."""
    description = on_one_line(found.description or "")
    yes, no = ("true", "false") if template in ("json", "{{json .}}") else ("[OK]", "")
    return SearchRow(
        description=description if no_trunc else shortened(description, _WIDTH),
        is_official=yes if found.is_official else no,
        name="".join(filter(str.isprintable, found.name)),
        star_count=str(found.star_count),
    )
