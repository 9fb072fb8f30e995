"""Who asks: how the challenges of one server are met.

Here: basic authentication (RFC 7617), and the tokens of a token service (distribution, "Token Authentication" and
"OAuth2 Token Authentication"), each kept for as long as it is good. Not here: where logins are stored, when to ask.

A password or an identity token goes through TLS. In plain HTTP it goes only to the registry's own host, and only
where the user's settings call that insecure. No secret is in an error, or in what ``repr`` shows.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import httpx

from kernel_sandbox.errors import CorruptContent, RegistryError, Unauthorized
from kernel_sandbox.registry.credentials import Credentials
from kernel_sandbox.registry.failures import service_refusal
from kernel_sandbox.registry.settings import Settings
from kernel_sandbox.registry.transport import Request, Transport, is_loopback, netloc
from kernel_sandbox.spec import distribution
from kernel_sandbox.spec.challenge import Challenge
from kernel_sandbox.spec.docker_config import Login

_CLIENT = "kernel-sandbox"
_LONGEST_IDENTITY = 64 << 10
_LEAST_LIFETIME = 60.0
"""Seconds: what a token's lifetime is by the specification unless it is said to be longer."""

Scopes = tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    good_until: float


class Authenticator:
    """Answers the challenges of one server, at *base*, in the caller's name at the registry *domain*.

    That is by the stored login, or by one that is *offered*; for that an identity token is asked for, to keep.
    """

    def __init__(
        self,
        domain: str,
        transport: Transport,
        settings: Settings,
        credentials: Credentials,
        offered: Login | None = None,
    ) -> None:
        self.domain = domain
        self._transport = transport
        self._settings = settings
        self._credentials = credentials
        self._login = offered
        self._to_keep = offered is not None
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self.identity_token = ""

    @property
    def is_nobody(self) -> bool:
        """Whether the caller has no login here."""
        return not self._account()

    def header(self, base: httpx.URL, scopes: Scopes) -> str:
        """The field ``Authorization`` for a request, "" as long as the server has asked for none."""
        with self._lock:
            return self._header(base, self._challenge, scopes) if self._challenge else ""

    def answer(self, base: httpx.URL, challenges: Iterable[Challenge], scopes: Scopes, refused: str) -> str:
        """The field for a request that was met with *challenges*; *refused* is the one that it came with.

        "" where there is nothing to answer with. Raises RegistryError.
        """
        with self._lock:
            self._challenge = _choose(challenges)
            if self._challenge is None:
                return ""
            known = self._tokens.get(scopes)
            if known and refused == f"Bearer {known.value}":
                if self._challenge.parameters.get("error") == "insufficient_scope":
                    return refused
                del self._tokens[scopes]
            return self._header(base, self._challenge, scopes)

    def _header(self, base: httpx.URL, challenge: Challenge, scopes: Scopes) -> str:
        if challenge.scheme == "basic":
            return self._basic(base)
        token = self._tokens.get(scopes)
        if token is None or token.good_until < time.monotonic():
            token = self._fetch(base, challenge, scopes)
            self._tokens[scopes] = token
        return f"Bearer {token.value}"

    def _basic(self, url: httpx.URL, account: Login | None = None) -> str:
        login = account or self._account()
        if not login.password:
            raise Unauthorized(f"{netloc(url)}: no basic auth credentials: log in to {self.domain}", 401)
        self._check_private(url, url)
        return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()

    def _account(self) -> Login:
        """Asked for once: a helper program may want the user's attention each time."""
        if self._login is None:
            self._login = self._credentials.get(self.domain) or Login()
        return self._login

    def _fetch(self, base: httpx.URL, challenge: Challenge, scopes: Scopes) -> _Token:
        realm = self._realm(base, challenge)
        login = self._account()
        service = challenge.parameters.get("service", "")
        wanted = scopes or tuple(challenge.parameters.get("scope", "").split())
        if login:
            self._check_private(realm, base)
        request = (self._posted if login.identity_token else self._got)(realm, service, wanted, login)
        started = time.monotonic()
        with self._transport.answer(replace(request, registry=netloc(base))) as response:
            content = self._transport.read(response, distribution.MAX_ANSWER)
        if response.status_code != 200:
            raise service_refusal(netloc(realm), response.status_code, content)
        return self._token(realm, content, started)

    def _token(self, realm: httpx.URL, content: bytes, started: float) -> _Token:
        try:
            answer = distribution.decode(distribution.TokenAnswer, content)
        except CorruptContent as error:
            raise RegistryError(f"{netloc(realm)} gives no token: {error}") from None
        value = answer.token or answer.access_token or ""
        if not value.isascii() or not value.isprintable() or not value:
            raise RegistryError(f"{netloc(realm)} gives no token that can be used")
        if len(answer.refresh_token or "") > _LONGEST_IDENTITY:
            raise RegistryError(f"{netloc(realm)} gives an identity token that is too long to keep")
        self.identity_token = answer.refresh_token or self.identity_token
        return _Token(value, started + max(answer.expires_in or 0, _LEAST_LIFETIME))

    def _got(self, realm: httpx.URL, service: str, scopes: Scopes, login: Login) -> Request:
        fields = [("service", service), *(("scope", scope) for scope in scopes)]
        if login:
            fields.append(("account", login.username))
        if self._to_keep:
            fields += [("client_id", _CLIENT), ("offline_token", "true")]
        url = _with_query(realm, [(name, value) for name, value in fields if value])
        return Request("GET", url, authorization=self._basic(realm, login) if login else "")

    def _posted(self, realm: httpx.URL, service: str, scopes: Scopes, login: Login) -> Request:
        content = urlencode(
            {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
                "refresh_token": login.identity_token,
            }
        ).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(content))}
        return Request("POST", realm, headers, lambda: (content,), confidential=True)

    def _realm(self, base: httpx.URL, challenge: Challenge) -> httpx.URL:
        """The token service's address; raises RegistryError where nobody is to be sent to."""
        realm = challenge.parameters.get("realm", "")
        try:
            url = httpx.URL(realm)
        except httpx.InvalidURL:
            url = httpx.URL("")
        plain = url.scheme == "http" and self._settings.is_insecure(netloc(url))
        if not url.host or not (url.scheme == "https" or plain):
            kind = f"a token service by {url.scheme}" if url.scheme else "no address of a token service"
            raise RegistryError(f"{netloc(base)} names {kind}, which is refused: only https is used")
        if is_loopback(url.host) and not is_loopback(base.host):
            raise RegistryError(f"{netloc(base)} names a token service on this machine itself, {netloc(url)}: refused")
        return url.copy_with(userinfo=b"", fragment=None)

    def _check_private(self, url: httpx.URL, base: httpx.URL) -> None:
        """Raises RegistryError where a password would go to *url* for all to see."""
        own = self._settings.is_insecure(netloc(url)) and url.host == base.host
        if url.scheme != "https" and not own:
            raise RegistryError(f"{netloc(base)} wants the password in plain HTTP, at {netloc(url)}: refused")


def _choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """A token says the least about who asks."""
    usable = [each for each in challenges if each.scheme in ("bearer", "basic")]
    return min(usable, key=lambda each: each.scheme != "bearer", default=None)


def _with_query(url: httpx.URL, fields: Sequence[tuple[str, str]]) -> httpx.URL:
    query = "&".join(part for part in (url.query.decode("ascii"), urlencode(fields)) if part)
    return url.copy_with(query=query.encode("ascii"))
