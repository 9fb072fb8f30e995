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

    Redirects are followed, to these two schemes. Raises SandboxError, whatever the reader made of the part it got.
    """
    with _answer(url) as response:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pump = _Pump(response, writer)
        try:
            yield reader
        finally:
            os.close(reader)
            pump.join()
            if pump.error:
                raise _complaint(url, pump.error) from pump.error


class _Pump(threading.Thread):
    """Passes an answer's body on into a pipe until the reader has had enough."""

    def __init__(self, response: httpx.Response, writer: int) -> None:
        super().__init__(name="fetch", daemon=True)
        self._response = response
        self._writer = writer
        self.error: httpx.HTTPError | None = None
        self.start()

    def run(self) -> None:
        try:
            with open(self._writer, "wb", buffering=0) as out:
                for data in self._response.iter_raw():
                    rest = memoryview(data)
                    while rest:
                        rest = rest[out.write(rest) :]
        except httpx.HTTPError as error:
            self.error = error
        except BrokenPipeError:
            pass


@contextlib.contextmanager
def _answer(url: str) -> Iterator[httpx.Response]:
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=_MAX_REDIRECTS) as client,
            client.stream("GET", url, headers=_HEADERS) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise SandboxError(
                    f"failed to GET {url} with status {response.status_code} {response.reason_phrase}: check the URL"
                )
            yield response
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _complaint(url, error) from error


def _complaint(url: str, error: Exception) -> SandboxError:
    return SandboxError(f"cannot fetch {url}: {error or type(error).__name__}")
