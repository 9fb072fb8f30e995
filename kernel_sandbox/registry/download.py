"""A blob on its way here (distribution-spec, "Pulling Blobs").

Here: the bytes in their order, at most as many as there ought to be, resumed where a connection broke. Not here:
whether they have the digest, which whoever takes them knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import httpx

from kernel_sandbox.errors import RegistryError
from kernel_sandbox.registry.authentication import Scopes
from kernel_sandbox.registry.endpoint import Endpoint
from kernel_sandbox.registry.failures import Unreachable
from kernel_sandbox.registry.gauge import Gauge
from kernel_sandbox.registry.transport import netloc
from kernel_sandbox.spec.digest import Digest

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:([0-9]{1,18})|\*)")
_NO_SUCH_RANGE = 416
_PROGRESS = 1 << 20
"""Bytes that make a broken connection the first one again."""


class Sink(Protocol):
    """Takes a blob's bytes."""

    def write(self, data: bytes, /) -> object: ...


class Download:
    """One blob of *size* bytes, written to *sink*; *tell* hears how many of them have come."""

    def __init__(self, digest: Digest, size: int, sink: Sink, tell: Callable[[int], None]) -> None:
        self._digest = digest
        self._size = size
        self._sink = sink
        self._gauge = Gauge(size, tell)
        self._done = 0
        self._is_answered = False
        self._has_ranges = True

    def fetch(self, endpoint: Endpoint, path: str, scopes: Scopes) -> None:
        """Fetches all that is missing yet; raises RegistryError, after which another server may go on."""
        self._has_ranges = True
        retries = endpoint.transport.patience.retrying()
        marked = self._done
        while True:
            try:
                self._fetch_rest(endpoint, path, scopes)
                return
            except Unreachable as error:
                if self._done - marked >= _PROGRESS:
                    retries.start_again()
                    marked = self._done
                wait = retries.next_wait() if error.passing and self._is_answered else -1.0
                if wait < 0:
                    raise
                endpoint.transport.pause(wait)

    def _fetch_rest(self, endpoint: Endpoint, path: str, scopes: Scopes) -> None:
        self._is_answered = False
        headers = {"Range": f"bytes={self._done}-"} if self._done and self._has_ranges else {}
        expected = (200, 206, _NO_SUCH_RANGE) if headers else (200, 206)
        with endpoint.ask("GET", path, expected=expected, scopes=scopes, headers=headers) as response:
            self._is_answered = True
            if response.status_code != _NO_SUCH_RANGE:
                self._receive(endpoint, response)
                return
        self._has_ranges = False
        self._fetch_rest(endpoint, path, scopes)

    def _receive(self, endpoint: Endpoint, response: httpx.Response) -> None:
        skip = self._done - self._start(response)
        for chunk in endpoint.transport.chunks(response):
            skip -= len(chunk)
            if skip < 0:
                self._take(response, chunk[skip:] if -skip < len(chunk) else chunk)
                skip = 0
        if self._done < self._size:
            raise Unreachable(
                netloc(response.url), f"{self._done} bytes came of the {self._size} of {self._digest}", True
            )

    def _take(self, response: httpx.Response, data: bytes) -> None:
        if self._done + len(data) > self._size:
            raise RegistryError(f"{netloc(response.url)} sends more than the {self._size} bytes of {self._digest}")
        self._sink.write(data)
        self._done += len(data)
        self._gauge.show(self._done)

    def _start(self, response: httpx.Response) -> int:
        """Where in the blob the answer begins; raises RegistryError when it is none of this blob's."""
        claimed = response.headers.get("docker-content-digest", self._digest)
        if claimed != self._digest:
            raise RegistryError(f"{netloc(response.url)} sends another blob than {self._digest}")
        start, total = 0, response.headers.get("content-length", "")
        if response.status_code == 206:
            described = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if not described or not self._done or int(described[1]) > self._done:
                raise RegistryError(f"{netloc(response.url)} sends another part of {self._digest} than was asked for")
            start, total = int(described[1]), described[2] or ""
        if total.isascii() and total.isdigit() and int(total[:19]) != self._size:
            raise RegistryError(f"{netloc(response.url)} has {total[:19]} bytes of {self._digest}, not {self._size}")
        return start
