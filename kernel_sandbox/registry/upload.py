"""A blob on its way to a registry (distribution-spec, "Pushing Blobs").

Here: mounting from another repository, and an upload session: begun, fed, resumed at the offset that the registry
tells, closed. Not here: which blobs are to be sent.

A blob goes in one piece, as Docker sends it, for that is what every registry takes. Once that has failed the rest goes
in smaller ones, so that what has arrived is not sent again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote

import httpx

from kernel_sandbox.errors import CorruptContent, RegistryError
from kernel_sandbox.registry.authentication import Scopes
from kernel_sandbox.registry.endpoint import Endpoint
from kernel_sandbox.registry.failures import Unreachable
from kernel_sandbox.registry.gauge import Gauge
from kernel_sandbox.registry.patience import Retries
from kernel_sandbox.spec.digest import Digest

_PIECE = 16 << 20
_PROGRESS = 1 << 20
"""Bytes that make a broken connection the first one again."""
_BUFFER = 256 << 10
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_TOO_LARGE = 413
_WRONG_PLACE = 416
_FORGOTTEN = 404
_EMPTY = {"Content-Length": "0"}

OpenAt = Callable[[int], BinaryIO]


class Upload:
    """One blob of *size* bytes; ``open_at(offset)`` reads it from there, *tell* hears how many bytes have gone."""

    def __init__(self, digest: Digest, size: int, open_at: OpenAt, tell: Callable[[int], None]) -> None:
        self._digest = digest
        self._size = size
        self._open_at = open_at
        self._gauge = Gauge(size, tell)
        self._done = 0

    def send(self, endpoint: Endpoint, path: str, scopes: Scopes) -> None:
        """Sends the blob to the repository whose blobs are below *path*; raises RegistryError."""
        session = _Session.begin(endpoint, path, scopes)
        try:
            self._feed(session)
            session.close(self._digest)
        except BaseException:
            session.cancel()
            raise

    def _feed(self, session: _Session) -> None:
        retries = session.retrying()
        piece, furthest = self._size, 0
        while self._done < self._size:
            length = min(self._size - self._done, piece)
            try:
                session.send(self._done, length, self._size, self._content)
                self._done += length
            except RegistryError as error:
                wait = retries.next_wait() if _is_passing(error) else -1.0
                if wait < 0:
                    raise
                session.pause(wait)
                piece = _PIECE
                self._done = min(session.resume(), self._size)
                if self._done - furthest >= _PROGRESS:
                    retries.start_again()
                    furthest = self._done

    def _content(self, start: int, length: int) -> Iterator[bytes]:
        with self._open_at(start) as file:
            end = start + length
            while start < end:
                data = file.read(min(_BUFFER, end - start))
                if not data:
                    raise CorruptContent(f"{self._digest} has {start} bytes, not {self._size}")
                start += len(data)
                yield data
                self._gauge.show(start)


class _Session:
    """An upload that the registry has begun; each of its answers says where the next request goes."""

    def __init__(self, endpoint: Endpoint, path: str, scopes: Scopes, location: httpx.URL) -> None:
        self._endpoint = endpoint
        self._path = path
        self._scopes = scopes
        self._location = location

    @classmethod
    def begin(cls, endpoint: Endpoint, path: str, scopes: Scopes) -> _Session:
        with endpoint.ask("POST", f"{path}uploads/", expected=(202,), scopes=scopes, headers=_EMPTY) as response:
            return cls(endpoint, path, scopes, _location(endpoint, response))

    def retrying(self) -> Retries:
        return self._endpoint.transport.patience.retrying()

    def pause(self, seconds: float) -> None:
        self._endpoint.transport.pause(seconds)

    def send(self, start: int, length: int, size: int, content: Callable[[int, int], Iterator[bytes]]) -> None:
        """Sends *length* bytes of *size*. What goes in one piece says nothing of a range, as with Docker."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        if length < size:
            headers["Content-Range"] = f"{start}-{start + length - 1}"
        with self._endpoint.ask(
            "PATCH",
            self._location,
            expected=(202,),
            scopes=self._scopes,
            headers=headers,
            body=lambda: content(start, length),
            repeatable=False,
        ) as response:
            self._location = _location(self._endpoint, response)

    def resume(self) -> int:
        """How many bytes the registry has; it may have forgotten all, and then begins again."""
        try:
            with self._endpoint.ask("GET", self._location, expected=(202, 204), scopes=self._scopes) as response:
                self._location = _location(self._endpoint, response)
                described = _RANGE.fullmatch(response.headers.get("range", "").strip())
        except RegistryError as error:
            if error.status != _FORGOTTEN:
                raise
            self._location = self.begin(self._endpoint, self._path, self._scopes)._location
            return 0
        # Registries say "0-0" of nothing, too.
        return int(described[1]) + 1 if described and int(described[1]) else 0

    def close(self, digest: Digest) -> None:
        """Makes what was sent a blob. If the answer to that was lost, the session is gone and the blob is there."""
        separator = "&" if self._location.query else "?"
        url = httpx.URL(f"{self._location}{separator}digest={quote(digest, safe='')}")
        try:
            with self._endpoint.ask("PUT", url, expected=(201, 204), scopes=self._scopes, headers=_EMPTY):
                pass
        except RegistryError as error:
            if error.status != _FORGOTTEN:
                raise
            with self._endpoint.ask("HEAD", f"{self._path}{digest}", scopes=self._scopes):
                pass

    def cancel(self) -> None:
        """Gives the registry its space back, if that can be."""
        with (
            contextlib.suppress(RegistryError),
            self._endpoint.ask("DELETE", self._location, expected=(204,), scopes=self._scopes, repeatable=False),
        ):
            pass


def abandon(endpoint: Endpoint, path: str, scopes: Scopes, response: httpx.Response) -> None:
    """Ends the session that *response* began."""
    _Session(endpoint, path, scopes, _location(endpoint, response)).cancel()


def _location(endpoint: Endpoint, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    if not location:
        return response.url
    return endpoint.transport.resolve(response.url, location)


def _is_passing(error: RegistryError) -> bool:
    if isinstance(error, Unreachable):
        return error.passing
    return error.status in (_FORGOTTEN, _TOO_LARGE, _WRONG_PLACE, 408, 429) or error.status >= 500
