"""A token service as registries want one (distribution, "Token Authentication Specification"), its tokens signed.

    with token_service() as tokens, registry(tokens=tokens) as running: ...

Whoever gives no password may pull from ``library/``; who gives one of ``PASSWORDS`` may do what he asks for. A login
that wants a refresh token gets one, and with that a token by OAuth 2.
"""

import json
import subprocess
import tempfile
import threading
import time
import uuid
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.peers import require

# What is hard about a password: a colon, a space, and what is no ASCII.
PASSWORDS = {"alice": "wonder:land é", "bob": "builder"}
SERVICE, ISSUER = "the test's registry", "the test's token service"
_LIFETIME = 300


@dataclass
class TokenService:
    """A service that runs: ``url`` is where tokens are, ``certificate`` what they are to be verified with.

    ``asked`` is who asked for which scopes, each as ``NAME SCOPE SCOPE``; ``refresh`` are the refresh tokens given.
    """

    url: str
    certificate: Path
    key: Path
    asked: list[str] = field(default_factory=list)
    refresh: dict[str, str] = field(default_factory=dict)

    def token(self, user: str, scopes: Sequence[str]) -> str:
        """A token for what of the scopes the user may do, signed (RFC 7515, RS256)."""
        body = "".join(line for line in self.certificate.read_text().splitlines() if not line.startswith("-"))
        now = int(time.time())
        may = [access for scope in scopes if (access := _access(user, scope))]
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": user, "jti": uuid.uuid4().hex, "access": may}
        claims |= {"iat": now, "nbf": now - 5, "exp": now + _LIFETIME}
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'RS256', 'x5c': [body]})}.{_encoded(claims)}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True).stdout
        return f"{signed}.{_base64(signature)}"


def _access(user: str, scope: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = actions.split(",") if user else [each for each in actions.split(",") if each == "pull"]
    may = bool(user) or name.startswith("library/")
    return {"type": kind, "name": name, "actions": allowed} if may and allowed else {}


def _encoded(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document).encode())


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        """The flow with a password, or without."""
        query = parse_qs(urlsplit(self.path).query)
        kind, _, pair = self.headers.get("Authorization", "").partition(" ")
        user, _, password = b64decode(pair).decode().partition(":") if kind == "Basic" else ("", "", "")
        if user and PASSWORDS.get(user) != password:
            self._answer(401, {"details": "incorrect username or password"})
            return
        given = {}
        if user and query.get("offline_token") == ["true"]:
            given["refresh_token"] = uuid.uuid4().hex
            self.server.service.refresh[given["refresh_token"]] = user
        self._give("token", user, query.get("scope", []), given)

    def do_POST(self) -> None:
        """The flow of OAuth 2 with a refresh token."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        user = self.server.service.refresh.get(form.get("refresh_token", [""])[0], "")
        if form.get("grant_type") != ["refresh_token"] or not user:
            self._answer(400, {"error": "invalid_grant"})
            return
        self._give("access_token", user, form.get("scope", [""])[0].split(), {})

    def _give(self, name: str, user: str, asked: Sequence[str], besides: dict[str, str]) -> None:
        scopes = [scope for each in asked for scope in each.split()]
        self.server.service.asked.append(" ".join((user, *scopes)))
        self._answer(200, {name: self.server.service.token(user, scopes), "expires_in": _LIFETIME, **besides})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: TokenService


@contextmanager
def token_service() -> Iterator[TokenService]:
    """A token service in plain HTTP on loopback.

    Raises:
        Unavailable: `openssl` is not installed.
    """
    require("openssl")
    with tempfile.TemporaryDirectory() as directory, _Server(("127.0.0.1", 0), _Handler) as server:
        key, certificate = Path(directory, "key"), Path(directory, "certificate")
        made = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens", "-days", "2", "-keyout", str(key))
        subprocess.run(["openssl", "req", "-x509", *made, "-out", str(certificate)], capture_output=True, check=True)
        server.service = TokenService(f"http://127.0.0.1:{server.server_address[1]}/token", certificate, key)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.service
        finally:
            server.shutdown()
            thread.join(5)
