"""One server that speaks for a registry: the registry itself, or a mirror of it.

Here: where it is, with TLS or without, and requests in the caller's name. Not here: repositories.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import httpx

from kernel_sandbox.errors import CorruptContent, RegistryError, Unauthorized
from kernel_sandbox.registry.authentication import Authenticator, Scopes
from kernel_sandbox.registry.failures import Unreachable, refusal
from kernel_sandbox.registry.transport import Body, Request, Transport, netloc, same_origin
from kernel_sandbox.spec import challenge, distribution
from kernel_sandbox.spec.challenge import Challenge

_NO_HEADERS: Mapping[str, str] = {}


class Endpoint:
    """A server, at the first of *bases* where one answers: with TLS, then without where that is allowed.

    It is *lost* once it could not be reached.
    """

    def __init__(self, bases: tuple[str, ...], transport: Transport, authenticator: Authenticator) -> None:
        self.transport = transport
        self.lost = False
        self._bases = tuple(httpx.URL(base) for base in bases)
        self._authenticator = authenticator
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """As it stands in a reference."""
        return netloc(self._bases[0])

    def url(self, path: str) -> httpx.URL:
        """The address of *path*, which begins with a slash; raises RegistryError when nobody answers."""
        base = self._base()
        return httpx.URL(str(base).rstrip("/") + path)

    @contextlib.contextmanager
    def ask(
        self,
        method: str,
        target: str | httpx.URL,
        *,
        expected: tuple[int, ...] = (200,),
        scopes: Scopes = (),
        headers: Mapping[str, str] = _NO_HEADERS,
        body: Body | None = None,
        repeatable: bool = True,
    ) -> Iterator[httpx.Response]:
        """The answer to a request for a path, or for an address that the server gave; its content is still to be read.

        Raises RegistryError for any status that is not *expected*.
        """
        with self._noticing():
            url = self.url(target) if isinstance(target, str) else target
            own = same_origin(url, self._base())
            proof = self._authenticator.header(self._base(), scopes) if own else ""
            request = Request(method, url, headers, body, proof, repeatable=repeatable, registry=self.host)
            with self._answered(request, scopes, own) as response:
                if response.status_code not in expected:
                    content = self.transport.read(response, distribution.MAX_ANSWER)
                    raise self._refused(response, content)
                yield response

    def read(self, path: str | httpx.URL, limit: int, scopes: Scopes = ()) -> tuple[bytes, httpx.Response]:
        """The content of what lies there, and its answer."""
        with self.ask("GET", path, scopes=scopes) as response:
            return self.transport.read(response, limit), response

    @contextlib.contextmanager
    def _answered(self, request: Request, scopes: Scopes, own: bool) -> Iterator[httpx.Response]:
        """The answer, to a second request where the first one is met with a challenge."""
        with self.transport.answer(request) as response:
            if response.status_code != 401 or not own or not same_origin(response.url, request.url):
                yield response
                return
            content = self.transport.read(response, distribution.MAX_ANSWER)
        proof = self._authenticator.answer(self._base(), self._challenges(response), scopes, request.authorization)
        if proof in ("", request.authorization):
            raise self._refused(response, content)
        with self.transport.answer(replace(request, authorization=proof)) as response:
            yield response

    def _refused(self, response: httpx.Response, content: bytes) -> RegistryError:
        error = refusal(self.host, response.status_code, content, self._challenges(response))
        if error.status == 401 and error.code != "DENIED" and self._authenticator.is_nobody:
            return Unauthorized(f"{error}: log in to {self._authenticator.domain}", error.status, error.code)
        return error

    def _challenges(self, response: httpx.Response) -> tuple[Challenge, ...]:
        try:
            return challenge.parse(response.headers.get_list("www-authenticate"))
        except CorruptContent as error:
            raise RegistryError(f"{self.host}: {error}", response.status_code) from None

    def _base(self) -> httpx.URL:
        with self._lock:
            if len(self._bases) > 1:
                self._bases = (self._first_that_answers(),)
            return self._bases[0]

    def _first_that_answers(self) -> httpx.URL:
        for base in self._bases:
            try:
                request = Request("GET", httpx.URL(f"{base}/v2/"), repeatable=False, registry=self.host)
                with self.transport.answer(request):
                    return base
            except Unreachable as error:
                if not error.connecting or base is self._bases[-1]:
                    raise
        raise AssertionError("there is no base")

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except Unreachable:
            self.lost = True
            raise
