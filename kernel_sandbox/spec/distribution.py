"""The documents that registries answer with, beside manifests and blobs.

Here: errors, lists of tags and repositories (distribution-spec, "Error Codes", "Listing Tags"), the answer of a
token service (distribution's "Token Authentication"), the search results of Docker Hub. Not here: asking for them.
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.reference import TAG

MAX_ANSWER = 1 << 20
"""Bytes of the largest such document that is read."""


class Answer(msgspec.Struct, frozen=True):
    """A JSON object that a registry sent; members that nobody here knows are passed over."""


class Failure(Answer, frozen=True):
    """One thing that went wrong: a *code* such as ``MANIFEST_UNKNOWN``, and a *message* for people."""

    code: str = ""
    message: str | None = ""

    def __str__(self) -> str:
        """In the words of Docker: ``manifest unknown: manifest unknown``."""
        return ": ".join(part for part in (self.code.lower().replace("_", " "), self.message) if part)


class Failures(Answer, frozen=True):
    """Why a request was refused."""

    errors: tuple[Failure, ...] | None = ()


class ServiceFailure(Answer, frozen=True):
    """Why a token service refused: OAuth 2's form (RFC 6749, section 5.2), and that of other services."""

    error: str = ""
    error_description: str = ""
    details: str = ""
    message: str = ""

    def __str__(self) -> str:
        return self.error_description or self.details or self.message or self.error


class TokenAnswer(Answer, frozen=True):
    """A token service's answer; *expires_in* is in seconds."""

    token: str | None = ""
    access_token: str | None = ""
    refresh_token: str | None = ""
    expires_in: float | None = 0

    def __repr__(self) -> str:
        return f"TokenAnswer(expires_in={self.expires_in})"


class TagList(Answer, frozen=True):
    """A page of a repository's tags, from which images may get their names."""

    tags: tuple[Annotated[str, msgspec.Meta(pattern=rf"^{TAG}\Z")], ...] | None = ()


class Catalog(Answer, frozen=True):
    """A page of a registry's repositories."""

    repositories: tuple[str, ...] | None = ()


class SearchResult(Answer, frozen=True):
    """A repository that was found."""

    name: str
    description: str | None = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class SearchResults(Answer, frozen=True):
    """What Docker Hub's index found, best first."""

    results: tuple[SearchResult, ...] | None = ()


A = TypeVar("A", bound=Answer)


def decode(cls: type[A], data: bytes) -> A:
    """The answer that *data* holds; raises CorruptContent when it is too large or has another shape."""
    if len(data) > MAX_ANSWER:
        raise CorruptContent(f"invalid {cls.__name__}: more than {MAX_ANSWER} bytes")
    try:
        return msgspec.json.decode(data, type=decodable(cls))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptContent(f"invalid {cls.__name__}: {error}") from None


_MAX_LINK = 8 << 10
_LINK = re.compile(r'\s*<([^<>]*)>\s*((?:;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^";,\s]+)\s*)*)(?:,|\Z)')
_RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^";,\s]+))', re.IGNORECASE)


def next_page(links: Iterable[str]) -> str:
    """The target of the link to the next page in the fields ``Link`` of an answer (RFC 8288); "" on the last one."""
    for field in links:
        for link in _LINK.finditer(field[:_MAX_LINK]):
            relation = _RELATION.search(link[2])
            if relation and "next" in (relation[1] or relation[2] or "").lower().split():
                return link[1]
    return ""
