"""A proxy for HTTPS on loopback (RFC 9110, CONNECT), where every host is loopback, and connections break as told."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PATIENCE = 15.0
_PIECE = 64 * 1024


@dataclass
class Proxy:
    """A proxy that runs.

    ``asked`` is where it was to lead to, each as ``HOST:PORT``, and ``down`` and ``up`` count the bytes to and from
    clients. It ends a connection after the first number in ``cuts`` of bytes in either direction, the next one after
    the second one, and later ones not at all. ``refuses`` is a status line instead of a connection.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    refuses: str = ""
    down: int = 0
    up: int = 0


class _Tunnel(socketserver.StreamRequestHandler):
    timeout = _PATIENCE
    server: "_Server"

    def handle(self) -> None:
        with suppress(OSError):
            self._lead()

    def _lead(self) -> None:
        proxy = self.server.proxy
        method, target, _ = self.rfile.readline(_PIECE).decode("latin-1").split(" ", 2)
        while self.rfile.readline(_PIECE).strip():
            pass
        proxy.asked.append(target)
        if proxy.refuses or method != "CONNECT":
            self.wfile.write(f"HTTP/1.1 {proxy.refuses or '501 Not Implemented'}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        allowed = proxy.cuts.pop(0) if proxy.cuts else -1
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])), _PATIENCE) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            up = threading.Thread(target=self._pump, args=(self.connection, server, "up", allowed))
            up.start()
            self._pump(server, self.connection, "down", allowed)
            up.join(_PATIENCE)

    def _pump(self, source: socket.socket, sink: socket.socket, way: str, allowed: int) -> None:
        proxy, moved = self.server.proxy, 0
        with suppress(OSError):
            while moved != allowed and (piece := source.recv(_PIECE if allowed < 0 else min(_PIECE, allowed - moved))):
                sink.sendall(piece)
                moved += len(piece)
                setattr(proxy, way, getattr(proxy, way) + len(piece))
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: Proxy


@contextmanager
def https_proxy() -> Iterator[Proxy]:
    """A proxy that leads every host to loopback."""
    with _Server(("127.0.0.1", 0), _Tunnel) as server:
        server.proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join(5)
