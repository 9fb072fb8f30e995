"""Connections that can be given up: when an answer takes too long to begin, and when a client is closed.

A limit for each read does not bound an answer whose headers drip, or never end; and a thread that waits for a socket
is not woken when another one closes that. So each socket is wrapped on its way to httpx, as httpcore's
``NetworkBackend`` provides for.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx


class Connections(httpcore.NetworkBackend):
    """Makes the connections of one client; many threads may use it."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()
        self._open: weakref.WeakSet[_Stream] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False
        self._expected = threading.local()

    def transport(self, verify: ssl.SSLContext | bool, proxy: str) -> httpx.HTTPTransport:
        """httpx over such connections. Raises ImportError, ValueError and httpx.InvalidURL for a strange *proxy*."""
        made = httpx.HTTPTransport(verify=verify, proxy=proxy or None)
        made._pool._network_backend = self
        return made

    @contextlib.contextmanager
    def expecting(self, seconds: float) -> Iterator[None]:
        """Around a request of this thread, or a wait for more of its answer: it comes in so many *seconds*, or not."""
        self._expected.within, self._expected.until = seconds, time.monotonic() + seconds
        try:
            yield
        finally:
            del self._expected.within, self._expected.until

    def postpone(self) -> None:
        """More of the request is sent."""
        if hasattr(self._expected, "until"):
            self._expected.until = time.monotonic() + self._expected.within

    def check(self) -> None:
        """Raises httpcore.ReadTimeout when what is expected should have come."""
        if time.monotonic() > getattr(self._expected, "until", float("inf")):
            raise httpcore.ReadTimeout("what is expected does not come")

    def watch(self, stream: httpcore.NetworkStream) -> _Stream:
        """The same connection, one that can be given up."""
        watched = _Stream(stream, self)
        with self._lock:
            if self._is_cut:
                stream.close()
                raise httpcore.ConnectError("the client is closed")
            self._open.add(watched)
        return watched

    def cut(self) -> None:
        """Wakes everybody who reads or writes, and lets nobody connect any more.

        Sockets are shut down and stay open: another thread may be about to use the number of a closed one.
        """
        with self._lock:
            self._is_cut = True
            for stream in self._open:
                stream.cut()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return self.watch(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, connections: Connections) -> None:
        self._stream = stream
        self._connections = connections

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._connections.check()
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        self._connections.postpone()

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self._connections.watch(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def cut(self) -> None:
        connection = self._stream.get_extra_info("socket")
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
