"""All registries, as this user has access to them.

Here: which servers speak for a registry, with which login. Not here: the protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlencode

import httpx

from kernel_sandbox.registry.authentication import Authenticator
from kernel_sandbox.registry.credentials import Credentials
from kernel_sandbox.registry.endpoint import Endpoint
from kernel_sandbox.registry.pages import document, pages
from kernel_sandbox.registry.patience import Patience
from kernel_sandbox.registry.repository import Repository
from kernel_sandbox.registry.settings import Settings
from kernel_sandbox.registry.transport import Transport, netloc
from kernel_sandbox.spec import distribution
from kernel_sandbox.spec.docker_config import Login
from kernel_sandbox.spec.reference import DEFAULT_DOMAIN, Reference

_HUB = "registry-1.docker.io"
_HUB_INDEX = "index.docker.io"
_CATALOG = ("registry:catalog:*",)
_MOST_REPOSITORIES = 100_000


class Registries:
    """A client of all registries; many threads may use it. A context manager: at its end its connections end."""

    def __init__(self, settings: Settings, credentials: Credentials, patience: Patience | None = None) -> None:
        self.settings = settings
        self._credentials = credentials
        self._transport = Transport(settings, patience or Patience())
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> Registries:
        """A client with the settings and the logins of this environment; raises SandboxError."""
        return cls(Settings.open(environment), Credentials(environment))

    def __enter__(self) -> Registries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections; who uses one in another thread gets a RegistryError at once."""
        self._transport.close()

    def repository(self, domain: str, path: str) -> Repository:
        """The repository *path* of a registry; nothing is asked yet."""
        mirrors = tuple(self._endpoint(url, netloc(httpx.URL(url))) for url in self.settings.mirrors(domain))
        return Repository(Reference(domain, path), self._registry(domain), mirrors)

    def login(self, domain: str, login: Login) -> Login:
        """Proves *login* to the registry and returns what to keep of it: an identity token, where it gives one.

        Raises Unauthorized where the registry does not believe it, and RegistryError.
        """
        host = _HUB if domain == DEFAULT_DOMAIN else domain
        authenticator = Authenticator(domain, self._transport, self.settings, self._credentials, login)
        _ping(Endpoint(self._bases(host), self._transport, authenticator))
        token = authenticator.identity_token
        return Login(login.username, identity_token=token) if token and login.password else login

    def catalog(self, domain: str) -> tuple[str, ...]:
        """The paths of the registry's repositories, in its order; raises RegistryError."""
        answers = pages(self._registry(domain), "/v2/_catalog", distribution.Catalog, _CATALOG)
        names: list[str] = []
        for page in answers:
            names += page.repositories or ()
            if len(names) >= _MOST_REPOSITORIES:
                break
        return tuple(names[:_MOST_REPOSITORIES])

    def search(self, domain: str, term: str, limit: int) -> tuple[distribution.SearchResult, ...]:
        """What the index of Docker Hub, or a registry that has one, finds; raises RegistryError."""
        host = _HUB_INDEX if domain == DEFAULT_DOMAIN else domain
        path = "/v1/search?" + urlencode({"q": term, "n": limit})
        found, _ = document(self._endpoint(host, domain), path, distribution.SearchResults)
        return (found.results or ())[:limit]

    def _registry(self, domain: str) -> Endpoint:
        return self._endpoint(_HUB if domain == DEFAULT_DOMAIN else domain, domain)

    def _endpoint(self, host: str, domain: str) -> Endpoint:
        """The server at *host*, which is an address for a mirror, with the login to *domain*."""
        with self._lock:
            if host not in self._endpoints:
                authenticator = Authenticator(domain, self._transport, self.settings, self._credentials)
                self._endpoints[host] = Endpoint(self._bases(host), self._transport, authenticator)
            return self._endpoints[host]

    def _bases(self, host: str) -> tuple[str, ...]:
        if "://" in host:
            return (host,)
        return (f"https://{host}", f"http://{host}") if self.settings.is_insecure(host) else (f"https://{host}",)


def _ping(registry: Endpoint) -> None:
    with registry.ask("GET", "/v2/") as response:
        registry.transport.read(response, distribution.MAX_ANSWER)
