"""What ``config.json`` of Docker's client says about logging in to registries, and the words of credential helpers.

Here: whose login an entry of ``auths`` is, which program keeps the secrets of a registry (``credHelpers``,
``credsStore``), the file's bytes with an entry more or less, and what a helper reads and writes
(docker-credential-helpers). Podman's ``auth.json`` is the same document. Not here: where the files lie, and running
helpers.

A registry is named by its domain; Docker Hub's logins go by the address of its first interface.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from kernel_sandbox.errors import CorruptContent, UsageError
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.reference import DEFAULT_DOMAIN

HUB_KEY = "https://index.docker.io/v1/"
"""What files and helpers call Docker Hub."""
_HUB_DOMAINS = (DEFAULT_DOMAIN, "index.docker.io", "registry-1.docker.io")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TOKEN_USER = "<token>"  # noqa: S105  a helper's user name where the secret is an identity token


class Login(msgspec.Struct, frozen=True):
    """Who one is to a registry: a user name with a password, or with an identity token in its place (OAuth2).

    It can be shown without giving the secret away.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.username!r}, …)"

    def __bool__(self) -> bool:
        return bool(self.password or self.identity_token)


class _Entry(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class DockerConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the file that is about logging in."""

    auths: Mapping[str, _Entry | None] | None = None
    creds_store: str = ""
    cred_helpers: Mapping[str, str] | None = None

    def helper(self, domain: str) -> str:
        """The helper that keeps the registry's login; empty where the file itself does."""
        helpers = self.cred_helpers or {}
        return next((helpers[name] for name in names(domain) if name in helpers), self.creds_store)

    def login(self, domain: str) -> Login:
        """The login that the file holds for the registry; an empty one if it has none. Raises CorruptContent."""
        auths = self.auths or {}
        found = sorted((name for name in auths if _is_of(name, domain)), key=lambda name: name != key(domain))
        entry = auths[found[0]] if found else None
        return Login() if entry is None else _login(entry, domain)


class HelperLogin(msgspec.Struct, frozen=True, rename="pascal"):
    """What ``get`` answers and ``store`` reads."""

    username: str = ""
    secret: str = ""
    server_url: str = msgspec.field(name="ServerURL", default="")

    def __repr__(self) -> str:
        return f"HelperLogin({self.username!r}, …)"

    @classmethod
    def of(cls, login: Login, domain: str) -> HelperLogin:
        if login.identity_token:
            return cls(_TOKEN_USER, login.identity_token, key(domain))
        return cls(login.username, login.password, key(domain))

    @property
    def login(self) -> Login:
        if self.username == _TOKEN_USER:
            return Login(identity_token=self.secret)
        return Login(self.username, self.secret)


def key(domain: str) -> str:
    """What files and helpers call the registry."""
    return HUB_KEY if domain in _HUB_DOMAINS else domain


def names(domain: str) -> tuple[str, ...]:
    """All that an entry about the registry may be called."""
    return (HUB_KEY, *_HUB_DOMAINS) if domain in _HUB_DOMAINS else (domain,)


def server(address: str) -> str:
    """The registry that ``login`` and ``logout`` mean by an address, with scheme and path or without.

    Docker Hub is meant by none. Raises UsageError.
    """
    host = address.removeprefix("http://").removeprefix("https://").partition("/")[0]
    if not address or host in _HUB_DOMAINS:
        return DEFAULT_DOMAIN
    if not _HOST.fullmatch(host):
        raise UsageError(f"unable to parse server address {address!r}: write it as HOST or HOST:PORT")
    return host


def decode(content: bytes) -> DockerConfig:
    """The file's content; an empty file says nothing. Raises CorruptContent, which quotes none of it."""
    try:
        return msgspec.json.decode(content or b"{}", type=decodable(DockerConfig))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptContent(str(error)) from None


def with_login(content: bytes, domain: str, login: Login) -> bytes:
    """The file with this login in place of the registry's other entries; an empty login leaves an empty entry."""
    document = _without_entries(content, domain)
    entry: dict[str, str] = {}
    if login.username or login.password:
        entry["auth"] = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    if login.identity_token:
        entry["identitytoken"] = login.identity_token
    document["auths"] = dict(sorted({**document.get("auths", {}), key(domain): entry}.items()))
    return _encode(document)


def without_login(content: bytes, domain: str) -> bytes:
    """The file without what it says about logging in to the registry."""
    return _encode(_without_entries(content, domain))


def _is_of(name: str, domain: str) -> bool:
    """Whether an entry of this name is about the registry, and not about a part of it (podman's ``host/path``)."""
    address = name.removeprefix("http://").removeprefix("https://").rstrip("/")
    return address.removesuffix("/v1").removesuffix("/v2") in names(domain)


def _login(entry: _Entry, domain: str) -> Login:
    if not entry.auth:
        return Login(entry.username, entry.password, entry.identitytoken)
    try:
        decoded = base64.b64decode(entry.auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    username, colon, password = decoded.partition(":")
    if not colon:
        raise CorruptContent(f"the entry of {domain} in auths is no user name and password in base64")
    return Login(username, password.strip("\0"), entry.identitytoken)


def _without_entries(content: bytes, domain: str) -> dict[str, Any]:
    """All of the document, also what nobody here knows."""
    document: dict[str, Any] = json.loads(content or b"{}")
    auths = document.get("auths") or {}
    document["auths"] = {name: entry for name, entry in auths.items() if not _is_of(name, domain)}
    return document


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent="\t", ensure_ascii=False).encode()
