"""Documents that come page by page (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import httpx

from kernel_sandbox.errors import CorruptContent, RegistryError
from kernel_sandbox.registry.authentication import Scopes
from kernel_sandbox.registry.endpoint import Endpoint
from kernel_sandbox.spec import distribution

_MOST_PAGES = 100

A = TypeVar("A", bound=distribution.Answer)


def pages(endpoint: Endpoint, path: str, cls: type[A], scopes: Scopes = ()) -> Iterator[A]:
    """Each page, the first one at *path*; raises RegistryError, also for more pages than anybody has."""
    target: str | httpx.URL = path
    for _ in range(_MOST_PAGES):
        page, response = document(endpoint, target, cls, scopes)
        yield page
        link = distribution.next_page(response.headers.get_list("link"))
        if not link:
            return
        target = endpoint.transport.resolve(response.url, link)
    raise RegistryError(f"{endpoint.host} has more than {_MOST_PAGES} pages to list")


def document(
    endpoint: Endpoint, target: str | httpx.URL, cls: type[A], scopes: Scopes = ()
) -> tuple[A, httpx.Response]:
    """One document, and the answer that it came in; raises RegistryError."""
    content, response = endpoint.read(target, distribution.MAX_ANSWER, scopes)
    try:
        return distribution.decode(cls, content), response
    except CorruptContent as error:
        raise RegistryError(f"{endpoint.host} sent an answer that makes no sense: {error}") from None
