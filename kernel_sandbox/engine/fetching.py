"""A file from the web as a stream: what ``import URL`` reads.

Not here: registries, which have a package of their own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import httpx

from kernel_sandbox.errors import SandboxError

_TIMEOUT = httpx.Timeout(60, connect=30)
_MAX_REDIRECTS = 10
_HEADERS = {"Accept-Encoding": "identity"}  # an archive is told by its own bytes


@contextlib.contextmanager
def fetched(url: str) -> Iterator[int]:
    """A descriptor that yields what is at an http or https URL, while another thread fetches it.

    Redirects are followed, to these two schemes. Raises SandboxError where it cannot be fetched, whatever the reader
    made of the part that it got.
    """
    with _answer(url) as response:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pump = _Pump(response, writer)
        try:
            yield reader
        except SandboxError as error:
            if pump.error:
                raise _complaint(url, pump.error) from error
            raise
        finally:
            os.close(reader)


class _Pump(threading.Thread):
    """Passes an answer's body on into a pipe until the reader has had enough, or the answer is closed."""

    def __init__(self, response: httpx.Response, writer: int) -> None:
        super().__init__(name="fetch", daemon=True)
        self._response = response
        self._writer = writer
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        with open(self._writer, "wb", buffering=0) as out:
            try:
                for data in self._response.iter_raw():
                    rest = memoryview(data)
                    while rest:
                        rest = rest[out.write(rest) :]
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                self.error = error  # before the pipe's end can tell the reader


@contextlib.contextmanager
def _answer(url: str) -> Iterator[httpx.Response]:
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=_MAX_REDIRECTS) as client,
            client.stream("GET", url, headers=_HEADERS) as response,
        ):
            if response.status_code != httpx.codes.OK:
                status = f"{response.status_code} {response.reason_phrase}"
                raise SandboxError(f"failed to GET {shown(url)} with status {status}: check the URL")
            yield response
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise _complaint(url, error) from error


def shown(url: str) -> str:
    """The URL as it may be told: without a password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"
    return str(parsed.copy_with(username=None, password=None)) if parsed.userinfo else url


def _complaint(url: str, error: Exception) -> SandboxError:
    reason = "it is no URL" if isinstance(error, httpx.InvalidURL | UnicodeError) else error or type(error).__name__
    return SandboxError(f"cannot fetch {shown(url)}: {reason}")
