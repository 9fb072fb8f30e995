"""Real registries, Debian's `docker-registry`, on loopback: in plain HTTP or TLS, open or with accounts.

    with registry(tls=True, users=("alice",)) as running:
        running.host          # 127.0.0.1:PORT
        running.ca            # the authority's certificate, for SSL_CERT_FILE or certs.d

Each has a directory of its own and is ended by its process id. Nothing is written to the machine's own
configuration.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from support.blobs import RemoteImage
from support.certificates import certificates
from support.peers import end_with_parent, require
from support.store import SCRATCH
from support.tokens import ISSUER, PASSWORDS, SERVICE, TokenService
from support.waiting import wait_until

_HTPASSWD = {
    "alice": "$2b$04$8/bMGyVF9UtUr8gH8vXyIeq2zkViCuXmimmIewOciGUS9bnTzwyiu",
    "bob": "$2b$04$p0mq0VK3dioI/1UZ/AklhuVYGWYLOPAqCl6Dxy83pqFol3b1R1JIS",
}
_READY = 20.0
_LISTENING = re.compile(r'msg="listening on ([^" ,]+)')


@dataclass(frozen=True)
class Answer:
    """What a server has answered to one request."""

    status: int
    headers: Message
    content: bytes


@dataclass(frozen=True)
class Registry:
    """A registry that runs.

    ``host`` is its name in references; ``ca`` the certificate to trust, None for plain HTTP; ``log`` what it writes;
    ``data`` its storage; ``user`` the account that requests made here use, or none.
    """

    host: str
    ca: Path | None
    log: Path
    data: Path
    user: str = ""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or https."""
        return f"{'https' if self.ca else 'http'}://{self.host}"

    def environ(self) -> dict[str, str]:
        """What a program that uses OpenSSL has in its environment to trust the registry."""
        return {"SSL_CERT_FILE": str(self.ca)} if self.ca else {}

    def request(self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request below ``/v2/``, in the name of ``user``; an error's status is an answer like any other."""
        url = path if path.startswith("http") else f"{self.url}/v2/{path}"
        asked = urllib.request.Request(url, content or None, dict(headers or {}), method=method)
        if self.user:
            pair = f"{self.user}:{PASSWORDS[self.user]}".encode()
            asked.add_header("Authorization", f"Basic {b64encode(pair).decode()}")
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(asked, timeout=20) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        """Upload a blob in one piece."""
        begun = _expect(self.request("POST", f"{repository}/blobs/uploads/"), 202)
        place = begun.headers["Location"]
        url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        _expect(self.request("PUT", url, content, {"Content-Type": "application/octet-stream"}), 201)

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> None:
        """Upload a manifest or an index under a tag or a digest."""
        path = f"{repository}/manifests/{reference}"
        _expect(self.request("PUT", path, content, {"Content-Type": media_type}), 201)

    def put(self, image: RemoteImage, repository: str, tag: str = "latest") -> str:
        """Upload a whole image; return its reference here, ``HOST/REPOSITORY:TAG``."""
        for digest, content in image.blobs.items():
            self.put_blob(repository, digest, content)
        self.put_manifest(repository, tag, image.manifest, image.media_type)
        return f"{self.host}/{repository}:{tag}"

    def manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        """A manifest's bytes and its media type, whichever it is."""
        accept = ", ".join(
            f"application/vnd.{kind}+json"
            for kind in (
                "oci.image.manifest.v1",
                "oci.image.index.v1",
                "docker.distribution.manifest.v2",
                "docker.distribution.manifest.list.v2",
            )
        )
        answer = _expect(self.request("GET", f"{repository}/manifests/{reference}", headers={"Accept": accept}), 200)
        return answer.content, str(answer.headers["Content-Type"])

    def blob(self, repository: str, digest: str) -> bytes:
        """A blob's bytes."""
        return _expect(self.request("GET", f"{repository}/blobs/{digest}"), 200).content

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has the blob."""
        return self.request("HEAD", f"{repository}/blobs/{digest}").status == 200

    def requests(self, method: str = "") -> list[str]:
        """The paths that were asked for, the oldest first, of one method or all, each as ``GET /v2/…``."""
        found = re.findall(r'"([A-Z]+ \S+) HTTP/[\d.]+"', self.log.read_text(errors="replace"))
        return [each for each in found if each.startswith(method)]

    def skopeo(self, command: str, *args: str, timeout: float = 60) -> str:
        """`skopeo COMMAND`, its ``docker://`` arguments on this registry; its standard output.

            r.skopeo("copy", "oci:DIRECTORY:TAG", "docker://NAME:TAG")
            r.skopeo("inspect", "docker://NAME:TAG")

        Raises AssertionError with its complaint when it fails.
        """
        require("skopeo")
        named = [re.sub("^docker://", f"docker://{self.host}/", arg) for arg in args]
        ends = dict(zip(("src-", "dest-"), args[-2:], strict=True)) if command == "copy" else {"": args[-1]}
        ours = [side for side, end in ends.items() if end.startswith("docker://")]
        flags = [f"--{side}tls-verify=false" for side in ours]
        if self.user:
            flags += [f"--{side}creds={self.user}:{PASSWORDS[self.user]}" for side in ours]
        done = subprocess.run(
            ["skopeo", "--insecure-policy", command, *flags, *named],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        assert done.returncode == 0, f"skopeo {command} {' '.join(args)}: {done.stderr}"
        return done.stdout

    def push(self, source: str, name: str, *flags: str) -> str:
        """`skopeo copy SOURCE` to ``name`` here; return the reference that names it, ``HOST/NAME``."""
        self.skopeo("copy", *flags, source, f"docker://{name}")
        return f"{self.host}/{name}"


def _expect(answer: Answer, status: int) -> Answer:
    assert answer.status == status, f"status {answer.status}, not {status}: {answer.content[:500]!r}"
    return answer


@contextmanager
def registry(
    *,
    tls: bool = False,
    known_clients: bool = False,
    users: Sequence[str] = (),
    mirror_of: str = "",
    tokens: TokenService | None = None,
) -> Iterator[Registry]:
    """An empty registry.

    With ``tls``, ``known_clients`` has it let nobody in who shows no certificate by its own authority: those are made
    with ``client_certificate(running.ca.parent)``.

    ``users`` are who may use it, each with its password of ``PASSWORDS``; the first one is who uploads here.
    ``mirror_of`` is the URL of a registry whose content it fetches and keeps (a pull-through cache); ``tokens`` says
    who may do what, instead of ``users``.

    Raises:
        Unavailable: `docker-registry` or `openssl` is not installed.
    """
    require("docker-registry", *(("openssl",) if tls else ()))
    directory = Path(tempfile.mkdtemp(prefix="registry-", dir=SCRATCH))
    try:
        ca = certificates(directory) if tls else None
        configuration = directory / "config.yml"
        settings = _configuration(directory, tls, users, mirror_of, tokens)
        if known_clients:
            settings["http"]["tls"]["clientcas"] = [str(ca)]
        configuration.write_text(json.dumps(settings))
        log = directory / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["docker-registry", "serve", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, "HTTP_PROXY": "", "HTTPS_PROXY": "", "http_proxy": "", "https_proxy": ""},
                preexec_fn=end_with_parent,
            )
        try:
            host = _ready(server, log)
            yield Registry(host, ca, log, directory / "data", next(iter(users), ""))
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(5)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _configuration(
    directory: Path, tls: bool, users: Sequence[str], mirror_of: str, tokens: TokenService | None
) -> dict[str, Any]:
    """The configuration file, which is YAML, and so may be JSON. Port 0: the kernel chooses one that is free."""
    http: dict[str, Any] = {"addr": "127.0.0.1:0", "secret": "the test's"}
    if tls:
        http["tls"] = {"certificate": f"{directory}/server.crt", "key": f"{directory}/server.key"}
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": f"{directory}/data"}, "delete": {"enabled": True}},
        "http": http,
    }
    if users:
        accounts = directory / "htpasswd"
        accounts.write_text("".join(f"{user}:{_HTPASSWD[user]}\n" for user in users))
        settings["auth"] = {"htpasswd": {"realm": "the test's", "path": str(accounts)}}
    if tokens:
        known = {"realm": tokens.url, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(tokens.certificate)}
        settings["auth"] = {"token": known}
    if mirror_of:
        settings["proxy"] = {"remoteurl": mirror_of}
    return settings


def _ready(server: subprocess.Popen[bytes], log: Path) -> str:
    """Where the registry listens, which it writes once it does."""

    def address() -> str:
        """the registry to listen"""
        text = log.read_text(errors="replace")
        assert server.poll() is None, f"docker-registry ended with status {server.returncode}: {text[-500:]}"
        found = _LISTENING.search(text)
        return found.group(1) if found else ""

    return wait_until(address, _READY)
