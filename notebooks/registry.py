"""A private registry in a hundred lines: what the distribution specification asks of a server, and hardly more.

For the lesson ``02_images.ipynb``. It serves this machine alone, keeps everything in memory, asks nobody who they are,
and writes down each request, so that one can read what ``push`` and ``pull`` say to it.

    with Registry() as registry:
        print(registry.host)        127.0.0.1:40123
        ...
        registry.show()             what it was asked, and what it answered
"""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

NAME = r"(?P<name>[a-z0-9][a-z0-9._/-]*)"


class Registry:
    """A server on a free port of this machine, from the start of a ``with`` block, or from ``start``, to its end."""

    def __init__(self):
        self.blobs = {}  # digest: bytes
        self.manifests = {}  # (name, tag or digest): (media type, bytes)
        self.uploads = {}  # id: bytes so far
        self.log = []  # "HEAD /v2/lesson/blobs/sha256:3c8…  404"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.registry = self
        self.host = f"127.0.0.1:{self._server.server_port}"

    def start(self):
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def show(self):
        """Print the requests since the last time."""
        print("\n".join(self.log))
        self.log.clear()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/v2/":
            return self.answer(200)
        if path == "/v2/_catalog":
            return self.answer_json({"repositories": sorted({name for name, _ in self.registry.manifests})})
        if found := re.fullmatch(f"/v2/{NAME}/tags/list", path):
            names = (reference for name, reference in self.registry.manifests if name == found["name"])
            tags = sorted(each for each in names if not each.startswith("sha256:"))
            return self.answer_json({"name": found["name"], "tags": tags})
        if found := re.fullmatch(f"/v2/{NAME}/manifests/(?P<reference>[^/]+)", path):
            manifest = self.registry.manifests.get((found["name"], found["reference"]))
            return self.answer(200, manifest[1], type=manifest[0]) if manifest else self.unknown("MANIFEST_UNKNOWN")
        if found := re.fullmatch(f"/v2/{NAME}/blobs/(?P<digest>sha256:[0-9a-f]+)", path):
            blob = self.registry.blobs.get(found["digest"])
            return self.unknown("BLOB_UNKNOWN") if blob is None else self.answer(200, blob)
        return self.unknown("UNSUPPORTED")

    do_HEAD = do_GET

    def do_POST(self):
        """An upload begins, unless the blob is here: then it is also the other repository's from now on."""
        place = urlsplit(self.path)
        wanted = parse_qs(place.query).get("mount", [""])[0]
        self.body()
        if wanted in self.registry.blobs:
            return self.answer(201, location=place.path.replace("uploads/", wanted))
        upload = uuid4().hex
        self.registry.uploads[upload] = b""
        return self.answer(202, location=place.path + upload, range="0-0")

    def do_PATCH(self):
        """A piece of a blob."""
        upload = self.path.rpartition("/")[2]
        self.registry.uploads[upload] += self.body()
        self.answer(202, location=self.path, range=f"0-{len(self.registry.uploads[upload]) - 1}")

    def do_PUT(self):
        """A manifest, or a blob's end: its bytes must have the digest that the client claims."""
        place, body = urlsplit(self.path), self.body()
        if found := re.fullmatch(f"/v2/{NAME}/manifests/(?P<reference>[^/]+)", place.path):
            digest = digest_of(body)
            for reference in (found["reference"], digest):
                self.registry.manifests[found["name"], reference] = (self.headers["Content-Type"], body)
            return self.answer(201, location=self.path, digest=digest)
        blob = self.registry.uploads.pop(place.path.rpartition("/")[2]) + body
        claimed = parse_qs(place.query)["digest"][0]
        if digest_of(blob) != claimed:
            return self.unknown("DIGEST_INVALID", 400)
        self.registry.blobs[claimed] = blob
        return self.answer(201, location=place.path, digest=claimed)

    @property
    def registry(self):
        return self.server.registry

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def unknown(self, code, status=404):
        self.answer_json({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}, status)

    def answer_json(self, document, status=200):
        self.answer(status, json.dumps(document).encode(), type="application/json")

    def answer(self, status, content=b"", type="application/octet-stream", location="", range="", digest=""):
        path = re.sub("([0-9a-f]{6})[0-9a-f]{26,}", r"\1…", self.path)
        self.registry.log.append(f"{self.command:5} {path}  {status}")
        self.send_response(status)
        headers = {"Content-Type": type, "Content-Length": len(content), "Location": location, "Range": range}
        for name, value in {**headers, "Docker-Content-Digest": digest or digest_of(content)}.items():
            if value != "":
                self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Nothing on standard error: the requests are in ``Registry.log``."""


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
