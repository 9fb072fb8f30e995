"""A registry that behaves as it is told, on loopback: an honest one in memory, and ways of being dishonest.

    with adversary() as server:
        reference = server.put(remote_image([Entry("x")]), "lies")
        server.behave(answer("/blobs/", b"something else"))

A behaviour is a function of an ``Exchange`` that returns whether it has answered; the first that has is the last that
is asked, and the honest registry answers what nobody else has. ``server.seen`` is every request.
"""

import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.blobs import RemoteImage, digest_of

_PATIENCE = 15.0  # seconds that the server waits for a client's next bytes
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; ``is_private`` tells TLS from plain HTTP."""

    method: str
    path: str
    headers: Message = field(repr=False)
    is_private: bool

    @property
    def query(self) -> dict[str, str]:
        """The first value of each parameter."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Exchange(BaseHTTPRequestHandler):
    """One request, and the means to answer it."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: "Server"
    seen: Seen

    def handle_one_request(self) -> None:
        """As the base class does, except that whoever goes away is no error here."""
        try:
            super().handle_one_request()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def _exchange(self) -> None:
        self.seen = Seen(self.command, self.path, self.headers, isinstance(self.connection, ssl.SSLSocket))
        bench = self.server.bench
        bench.seen.append(self.seen)
        self.drained = False
        any(behave(self) for behave in (*bench.behaviours, bench.behave_honestly))
        if not self.drained:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _exchange

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: ``seen`` has it."""

    def body(self, limit: int = -1) -> bytes:
        """What the client sends, or its first ``limit`` bytes."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            content = self._chunks(limit)
        else:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length if limit < 0 else min(limit, length))
        self.drained = limit < 0
        return content

    def _chunks(self, limit: int) -> bytes:
        content = bytearray()
        while limit < 0 or len(content) < limit:
            size = int(self.rfile.readline().split(b";")[0], 16)
            content += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        return bytes(content if limit < 0 else content[:limit])

    def answer(
        self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> bool:
        """Answer; ``length`` is what Content-Length says when that is not the truth. Always true."""
        if not self.drained:
            self.body()
        self.head(status, {"Content-Length": str(len(content) if length is None else length), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)
        if length is not None and length != len(content):
            self.close_connection = True
        return True

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The status line and the headers alone: what follows is the caller's."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def cut(self) -> bool:
        """End the connection here. Always true."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        return True


Behaviour = Callable[[Exchange], bool]


class Server(ThreadingHTTPServer):
    """The listener of one bench; with a context it speaks TLS."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, bench: "Adversary", address: str, context: ssl.SSLContext | None) -> None:
        super().__init__((address, 0), Exchange)
        self.bench = bench
        self._context = context

    def get_request(self) -> tuple[Any, Any]:
        """The handshake waits until the connection's own thread reads."""
        connection, address = super().get_request()
        connection.settimeout(_PATIENCE)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients of an adversary may go away at any moment."""


class Adversary:
    """A registry in memory and what it is told to do instead; ``seen`` is what it was asked.

    ``ca`` is the certificate to trust, None for plain HTTP; ``name`` is the host's name in references.
    """

    def __init__(self, name: str, directory: Path | None) -> None:
        context = None
        self.ca = None
        if directory:
            self.ca = directory / "ca.crt"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / "server.crt", directory / "server.key")
        self.server = Server(self, name if name.startswith("127.") else "127.0.0.1", context)
        self.host = f"{name}:{self.server.server_address[1]}"
        self.url = f"{'https' if directory else 'http'}://{self.host}"
        self.seen: list[Seen] = []
        self.behaviours: list[Behaviour] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._uploads: dict[str, bytearray] = {}

    def put(self, image: RemoteImage, repository: str = "library/image", tag: str = "latest") -> str:
        """Have an image; return its reference, ``HOST/REPOSITORY:TAG``."""
        self.blobs.update(image.blobs)
        self.put_manifest(image.manifest, image.media_type, repository, tag)
        return f"{self.host}/{repository}:{tag}"

    def put_manifest(self, content: bytes, media_type: str, repository: str = "library/image", tag: str = "") -> None:
        """Have a manifest or an index, by its digest and, when there is one, by its tag."""
        for reference in filter(None, (digest_of(content), tag)):
            self.manifests[repository, reference] = content, media_type

    def behave(self, *behaviours: Behaviour) -> None:
        """Behave so, the first one first, until told otherwise."""
        self.behaviours[:] = behaviours

    def asked(self, pattern: str) -> list[Seen]:
        """The requests whose ``METHOD PATH`` the pattern is found in."""
        return [each for each in tuple(self.seen) if re.search(pattern, str(each))]

    def behave_honestly(self, exchange: Exchange) -> bool:
        """Answer as the distribution specification wants it."""
        path = urlsplit(exchange.path).path
        if path == "/v2/":
            return exchange.answer(200, b"{}")
        if found := re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags)/((?:uploads/)?.*)", path):
            repository, kind, last = found.groups()
            return {"manifests": self._manifest, "blobs": self._blob, "tags": self._tags}[kind](
                exchange, repository, last
            )
        return exchange.answer(404, b"{}")

    def _tags(self, exchange: Exchange, repository: str, _: str) -> bool:
        names = ", ".join(f'"{tag}"' for name, tag in self.manifests if name == repository and ":" not in tag)
        return exchange.answer(200, f'{{"name": "{repository}", "tags": [{names}]}}'.encode())

    def _manifest(self, exchange: Exchange, repository: str, reference: str) -> bool:
        if exchange.command == "PUT":
            content = exchange.body()
            self.put_manifest(content, exchange.headers["Content-Type"], repository, reference)
            return exchange.answer(201, headers={"Docker-Content-Digest": digest_of(content)})
        found = self.manifests.get((repository, reference))
        if found is None:
            return exchange.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')
        content, media_type = found
        return exchange.answer(200, content, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(content)})

    def _blob(self, exchange: Exchange, repository: str, last: str) -> bool:
        if last.startswith("uploads/"):
            return self._upload(exchange, repository, last.removeprefix("uploads/"))
        if last not in self.blobs:
            return exchange.answer(404, b'{"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}')
        content = self.blobs[last]
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.headers.get("Range", "")):
            first, end = int(found[1]), int(found[2] or len(content) - 1)
            span = f"bytes {first}-{end}/{len(content)}"
            return exchange.answer(206, content[first : end + 1], {"Content-Range": span})
        return exchange.answer(200, content, {"Docker-Content-Digest": last})

    def _upload(self, exchange: Exchange, repository: str, name: str) -> bool:
        query = exchange.seen.query
        if exchange.command == "POST":
            if query.get("mount") in self.blobs:
                return exchange.answer(201, headers={"Location": f"/v2/{repository}/blobs/{query['mount']}"})
            name = uuid.uuid4().hex
            self._uploads[name] = bytearray()
        if name not in self._uploads:
            return exchange.answer(404, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "unknown"}]}')
        received = self._uploads[name]
        begins = re.match(r"(?:bytes )?(\d+)-", exchange.headers.get("Content-Range", ""))
        if begins and int(begins[1]) != len(received):
            return exchange.answer(416, headers=self._place(repository, name))
        received += exchange.body()
        if exchange.command == "PUT":
            if digest_of(received) != query.get("digest"):
                return exchange.answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}')
            self.blobs[query["digest"]] = bytes(received)
            return exchange.answer(201, headers={"Docker-Content-Digest": query["digest"]})
        return exchange.answer(204 if exchange.command == "GET" else 202, headers=self._place(repository, name))

    def received(self, exchange: Exchange, content: bytes) -> None:
        """Keep bytes of an upload that will break now."""
        self._uploads[urlsplit(exchange.path).path.rpartition("/")[2]] += content

    def _place(self, repository: str, name: str) -> dict[str, str]:
        end = max(len(self._uploads[name]) - 1, 0)
        return {"Location": f"/v2/{repository}/blobs/uploads/{name}", "Range": f"0-{end}", "Docker-Upload-UUID": name}


@contextmanager
def adversary(*, tls: Path | None = None, name: str = "127.0.0.1") -> Iterator[Adversary]:
    """A server that is honest until it is told otherwise, with the certificates of a directory or in plain HTTP.

    ``name`` is what clients call it.
    """
    bench = Adversary(name, tls)
    thread = threading.Thread(target=bench.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield bench
    finally:
        bench.server.shutdown()
        thread.join(5)
        bench.server.server_close()


def only(pattern: str, behaviour: Behaviour, times: int | None = None) -> Behaviour:
    """Behave so for requests whose ``METHOD PATH`` the pattern is found in, and no more than so many ``times``."""
    turns = count() if times is None else iter(range(times))
    lock = threading.Lock()

    def behave(exchange: Exchange) -> bool:
        if not re.search(pattern, str(exchange.seen)):
            return False
        with lock:
            mine = next(turns, None)
        return mine is not None and behaviour(exchange)

    return behave


def answer(
    content: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None, length: int | None = None
) -> Behaviour:
    """Always the same; ``length`` is a Content-Length that lies."""
    return lambda exchange: exchange.answer(status, content, headers, length)


def redirect(target: str | Callable[[Seen], str], status: int = 307) -> Behaviour:
    """Send the client to a URL, or to what a function makes of its request."""

    def behave(exchange: Exchange) -> bool:
        place = target if isinstance(target, str) else target(exchange.seen)
        return exchange.answer(status, headers={"Location": place})

    return behave


def cut_after(size: int, content: bytes) -> Behaviour:
    """Promise all of ``content``, from where the client wants it, and go away after ``size`` bytes."""

    def behave(exchange: Exchange) -> bool:
        found = re.fullmatch(r"bytes=(\d+)-\d*", exchange.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        headers = {"Content-Length": str(len(content) - first)}
        if found:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        exchange.head(206 if found else 200, headers)
        exchange.wfile.write(content[first : first + size])
        exchange.wfile.flush()
        return exchange.cut()

    return behave


def without_ranges(content: bytes) -> Behaviour:
    """All of ``content``, whichever part is asked for."""
    return answer(content)


def endless(piece: bytes = bytes(_PIECE), pause: float = 0.0, headers: Mapping[str, str] | None = None) -> Behaviour:
    """The same piece again and again until the client has had enough, ``pause`` seconds between two."""

    def behave(exchange: Exchange) -> bool:
        exchange.head(200, {"Connection": "close", **(headers or {})})
        exchange.close_connection = True
        sent = 0
        while sent < 1 << 32:
            exchange.wfile.write(piece)
            exchange.wfile.flush()
            sent += len(piece)
            time.sleep(pause)
        return True

    return behave


def deaf_after(bench: Adversary, size: int) -> Behaviour:
    """Take so many bytes of an upload, and go away without an answer."""

    def behave(exchange: Exchange) -> bool:
        bench.received(exchange, exchange.body(size))
        return exchange.cut()

    return behave


def dripping(begin: bytes, piece: bytes) -> Behaviour:
    """An answer byte for byte as it goes over the line, and then the same piece again and again, slowly."""

    def behave(exchange: Exchange) -> bool:
        exchange.close_connection = True
        exchange.wfile.write(begin)
        while True:
            exchange.wfile.write(piece)
            exchange.wfile.flush()
            time.sleep(0.05)

    return behave
