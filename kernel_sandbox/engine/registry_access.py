"""The way to registries: a client with the caller's settings and logins, and the verbs that need it and no store.

Each verb opens a client of its own, so that settings and logins are those of the moment. The client is imported where
it is used: HTTP takes longer to import than most commands take.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.errors import RegistryError, Unauthorized
from kernel_sandbox.spec.reference import DEFAULT_DOMAIN

if TYPE_CHECKING:
    from kernel_sandbox.registry.client import Registries
    from kernel_sandbox.spec.distribution import SearchResult
    from kernel_sandbox.spec.docker_config import Login

_NO_CATALOG = (401, 403, 404, 405)


def open_registries(environment: Mapping[str, str] = os.environ, insecure: str = "") -> Registries:
    """A client of all registries; a context manager. For it the registry *insecure* is so. Raises SandboxError."""
    from kernel_sandbox.registry.client import Registries
    from kernel_sandbox.registry.credentials import Credentials
    from kernel_sandbox.registry.settings import Settings

    settings = Settings.open(environment)
    return Registries(settings.with_insecure(insecure) if insecure else settings, Credentials(environment))


def stored_login(environment: Mapping[str, str], domain: str) -> Login | None:
    """The caller's login to a registry, if there is one. Raises SandboxError for a file that cannot be read."""
    from kernel_sandbox.registry.credentials import Credentials

    return Credentials(environment).get(domain)


def log_in(environment: Mapping[str, str], domain: str, login: Login) -> str:
    """Prove a login to a registry and keep it. Raises Unauthorized, RegistryError, SandboxError.

    The path of the file that has come to hold the secret for all who can read that, or nothing.
    """
    from kernel_sandbox.registry.credentials import Credentials

    with open_registries(environment) as registries:
        try:
            kept = registries.login(domain, login)
        except Unauthorized as error:
            raise Unauthorized(f"login attempt to {domain} failed: {error}", error.status, error.code) from None
    return Credentials(environment).store(domain, kept)


def log_out(environment: Mapping[str, str], domain: str) -> None:
    """Forget the login to a registry. Raises SandboxError."""
    from kernel_sandbox.registry.credentials import Credentials

    Credentials(environment).erase(domain)


def search(environment: Mapping[str, str], domain: str, term: str, limit: int) -> tuple[SearchResult, ...]:
    """Repositories that Docker Hub's index finds, or that another registry lists with *term* in their names.

    One that lists none may have an index as Docker Hub's. What another registry has comes with its name, as it is
    pulled. Raises RegistryError.
    """
    from kernel_sandbox.spec.distribution import SearchResult

    with open_registries(environment) as registries:
        if domain == DEFAULT_DOMAIN:
            return registries.search(domain, term, limit)
        try:
            names = [name for name in registries.catalog(domain) if term.lower() in name.lower()]
            found = tuple(map(SearchResult, names[:limit]))
        except RegistryError as error:
            found = _indexed(registries, domain, term, limit, error)
        return tuple(msgspec.structs.replace(each, name=f"{domain}/{each.name}") for each in found)


def _indexed(
    registries: Registries, domain: str, term: str, limit: int, error: RegistryError
) -> tuple[SearchResult, ...]:
    """What the index of a registry finds that does not list what it has; raises that *error* where it has none."""
    if error.status not in _NO_CATALOG:
        raise error
    try:
        return registries.search(domain, term, limit)
    except RegistryError:
        raise error from None
