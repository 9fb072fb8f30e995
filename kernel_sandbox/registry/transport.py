"""One HTTP request and its answer, however the network behaves.

Here: connections (httpx) through proxies and TLS, limits of time and size, retries with back-off, redirects.
Not here: what is asked for, and who asks.

An answer comes from wherever a server redirects to, so it is not to be believed. A request's authorization goes to the
origin that it was made for and to no other; from https nobody is led to http, but to a registry that the user's
settings call insecure, and from elsewhere nobody is led to what listens on this machine. An error quotes no address
beyond its host: the rest may hold a secret.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import httpx

from kernel_sandbox import __version__
from kernel_sandbox.errors import HostError, RegistryError
from kernel_sandbox.registry.connections import Connections
from kernel_sandbox.registry.failures import Unreachable, unreachable
from kernel_sandbox.registry.patience import Patience, Retries, retry_after
from kernel_sandbox.registry.settings import Settings

_MOST_REDIRECTS = 10
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_KEEPING_THE_METHOD = frozenset((307, 308))
_PASSING = frozenset((408, 429, 500, 502, 503, 504))

Body = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Request:
    """What is asked of a server.

    *body* makes the content each time that it is sent; *headers* tell its length. Where the content is a secret
    (*confidential*) it goes to no other origin; what is not *repeatable* is sent once. The authorities of
    the *registry* that it is made for may vouch for whoever that leads to.
    """

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    authorization: str = field(default="", repr=False)
    confidential: bool = False
    repeatable: bool = True
    registry: str = ""


class Transport:
    """The connections of one client, which many threads may use."""

    def __init__(self, settings: Settings, patience: Patience):
        self.patience = patience
        self._settings = settings
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, str], httpx.HTTPTransport] = {}
        self._connections = Connections()
        self._users = 0
        self._reached: set[tuple[str, int]] = set()
        self._closing = threading.Event()

    def close(self) -> None:
        """Ends every connection, and with it what other threads are waiting for."""
        self._closing.set()
        self._connections.cut()
        with self._in_use():
            pass  # the last user closes the pools, and that may be this one

    @contextlib.contextmanager
    def answer(self, request: Request) -> Iterator[httpx.Response]:
        """The answer, its content still to be read by ``chunks`` or ``read``; raises RegistryError without one."""
        with self._in_use(), contextlib.closing(self._persist(request)) as response:
            yield response

    def chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The content as it comes; raises Unreachable when it stops, or is too slow to be meant to end."""
        patience = self.patience
        start, count = time.monotonic(), 0
        content = response.iter_raw()
        with unreachable(netloc(response.url)):
            # What frames the content (chunks' lengths, trailers) may drip, too, and is no chunk.
            while (chunk := self._within(patience.window, content)) is not None:
                yield chunk
                count += len(chunk)
                now = time.monotonic()
                if now - start > patience.window:
                    if count < patience.least_bytes:
                        raise Unreachable(netloc(response.url), "it sends next to nothing", passing=True)
                    start, count = now, 0

    def _within(self, seconds: float, content: Iterator[bytes]) -> bytes | None:
        with self._connections.expecting(seconds):
            return next(content, None)

    def read(self, response: httpx.Response, limit: int) -> bytes:
        """The whole content, of *limit* bytes at most; raises RegistryError."""
        host, deadline = netloc(response.url), time.monotonic() + self.patience.document
        too_long = f"{host} sent more than the {limit} bytes that such an answer may have"
        if _content_length(response) > limit:
            raise RegistryError(too_long, response.status_code)
        content = bytearray()
        for chunk in self.chunks(response):
            content += chunk
            if len(content) > limit:
                raise RegistryError(too_long, response.status_code)
            if time.monotonic() > deadline:
                raise Unreachable(host, f"its answer was not complete after {self.patience.document:.0f} seconds")
        return bytes(content)

    def pause(self, seconds: float) -> None:
        """Waits; raises RegistryError when the client is closed meanwhile."""
        if self._closing.wait(seconds):
            raise RegistryError("the connections to registries were closed")

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                is_over = self._closing.is_set() and not self._users
                pools = tuple(self._pools.values()) if is_over else ()
            for pool in pools:
                pool.close()

    def _persist(self, request: Request) -> httpx.Response:
        retries = self.patience.retrying()
        while True:
            try:
                response = self._follow(request)
            except Unreachable as error:
                if not self._worth_another(request, error, retries):
                    raise
                continue
            if response.status_code not in _PASSING or not request.repeatable:
                return response
            wait = retries.next_wait(retry_after(response.headers.get("retry-after", "")))
            if wait < 0:
                return response
            response.close()
            self.pause(wait)

    def _worth_another(self, request: Request, error: Unreachable, retries: Retries) -> bool:
        wait = retries.next_wait() if error.passing and request.repeatable else -1.0
        if wait >= 0:
            self.pause(wait)
        return wait >= 0

    def _follow(self, request: Request) -> httpx.Response:
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._send(request)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            response.close()
            request = self._redirected(request, response)
        raise RegistryError(f"{netloc(request.url)} redirects more than {_MOST_REDIRECTS} times")

    def _redirected(self, request: Request, response: httpx.Response) -> Request:
        url = self.resolve(request.url, response.headers["location"])
        kept = response.status_code in _KEEPING_THE_METHOD or request.method in ("GET", "HEAD")
        here = same_origin(url, request.url)
        if not kept or (request.confidential and not here):
            raise RegistryError(f"{netloc(request.url)} redirects what may not be redirected, to {netloc(url)}")
        return replace(request, url=url, authorization=request.authorization if here else "")

    def resolve(self, base: httpx.URL, location: str) -> httpx.URL:
        """The address that a server means by *location*; raises RegistryError where nobody is to be led to."""
        try:
            url = base.join(location)
            usable = url.scheme in ("http", "https") and bool(url.host)
        except (httpx.InvalidURL, ValueError):
            usable = False
        if not usable:
            raise RegistryError(f"{netloc(base)} leads to what is no address of http or https: refused")
        if base.scheme == "https" and url.scheme == "http" and not self._settings.is_insecure(netloc(url)):
            raise RegistryError(f"{netloc(base)} leads away from TLS, to {netloc(url)} in plain HTTP: refused")
        if is_loopback(url.host) and not is_loopback(base.host):
            raise RegistryError(f"{netloc(base)} leads to this machine itself, at {netloc(url)}: refused")
        return url.copy_with(userinfo=b"", fragment=None)

    def _send(self, request: Request) -> httpx.Response:
        url, patience = request.url, self.patience
        limits = httpx.Timeout(patience.silence, connect=patience.connect, pool=None)
        headers = {"User-Agent": f"kernel-sandbox/{__version__}", "Accept-Encoding": "identity", **request.headers}
        if request.authorization:
            headers["Authorization"] = request.authorization
        sent = httpx.Request(
            request.method,
            url,
            headers=headers,
            content=request.body() if request.body else None,
            extensions={"timeout": limits.as_dict()},
        )
        known = (url.host, _port(url)) in self._reached
        self.pause(0)
        pool = self._pool(url, request.registry)
        with unreachable(netloc(url), known), self._connections.expecting(patience.answer):
            response = pool.handle_request(sent)
        self._reached.add((url.host, _port(url)))
        response.request = sent
        return response

    def _pool(self, url: httpx.URL, registry: str) -> httpx.HTTPTransport:
        """The connections to this address and others that need the same certificates and proxy."""
        host, registry = (netloc(url), registry) if url.scheme == "https" else ("", "")
        # Loopback is reached without one, as by Docker.
        proxy = "" if is_loopback(url.host) else self._settings.proxy(url.scheme, url.host, _port(url))
        with self._lock:
            if (host, registry, proxy) not in self._pools:
                verify = self._settings.ssl_context(host, registry) if host else False
                try:
                    self._pools[host, registry, proxy] = self._connections.transport(verify, proxy)
                except (ImportError, ValueError, httpx.InvalidURL):
                    raise HostError(
                        f"cannot use the proxy that the environment names for {url.scheme}: write it as http://HOST:PORT"
                    ) from None
            return self._pools[host, registry, proxy]


def netloc(url: httpx.URL) -> str:
    """Host and port as they stand in a reference: ``localhost:5000``, ``[::1]:5000``, ``example.com``."""
    return url.netloc.decode("ascii")


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether both have one scheme, host and port (RFC 6454)."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, however that is written: ``127.1`` is an address, too (inet_aton(3))."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _content_length(response: httpx.Response) -> int:
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
