"""A repository of a registry: its manifests, blobs and tags (distribution-spec, "Endpoints").

What is fetched comes from the registry's mirrors, in their order, and then from itself; what is sent goes to itself.
Not here: what manifests mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable
from typing import TypeVar

import httpx
import msgspec

from kernel_sandbox.errors import CorruptContent, NotFound, RegistryError, SandboxError, Unauthorized
from kernel_sandbox.registry.authentication import Scopes
from kernel_sandbox.registry.download import Download, Sink
from kernel_sandbox.registry.endpoint import Endpoint
from kernel_sandbox.registry.pages import pages
from kernel_sandbox.registry.transport import netloc
from kernel_sandbox.registry.upload import OpenAt, Upload, abandon
from kernel_sandbox.spec import distribution
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT
from kernel_sandbox.spec.reference import Reference

ALL = (*MANIFEST_TYPES, *INDEX_TYPES)
"""The media types of all manifests that are understood."""

_MOST_TAGS = 100_000
_SIGNED_TYPES = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
"""Manifests of schema 1 hold their signatures, which the digests that they are given leave out. None is understood."""
_CONTENT_DIGEST = "docker-content-digest"
T = TypeVar("T")


class Fetched(msgspec.Struct, frozen=True):
    """A manifest or an index: its bytes, the type that the registry gives it, its digest."""

    content: bytes
    media_type: str
    digest: Digest


def ignore(count: int) -> None:
    """For those who do not want to know."""


class Repository:
    """The repository *name*; many threads may use it. Every method raises RegistryError, or one below it."""

    def __init__(self, name: Reference, registry: Endpoint, mirrors: tuple[Endpoint, ...] = ()) -> None:
        self.name = name
        self._registry = registry
        self._mirrors = mirrors
        self._pull: Scopes = (f"repository:{name.path}:pull",)
        self._push: Scopes = (f"repository:{name.path}:pull,push",)

    @property
    def has_mirrors(self) -> bool:
        """Whether what is fetched may come from elsewhere than the registry."""
        return bool(self._mirrors)

    def without_mirrors(self) -> Repository:
        """The same at the registry itself, for who has been given something else by a mirror."""
        return Repository(self.name, self._registry)

    def reach(self) -> None:
        """Finds out whether the registry is met with TLS, where that is open; Unreachable where nobody answers."""
        self._registry.url("/v2/")

    def manifest(self, reference: str, accept: tuple[str, ...] = ALL) -> Fetched:
        """The manifest of a tag or a digest, which is verified; raises NotFound, in Docker's words."""
        path = f"/v2/{self.name.path}/manifests/{reference}"
        headers = {"Accept": ", ".join(accept)}

        def fetch(endpoint: Endpoint) -> Fetched:
            with endpoint.ask("GET", path, scopes=self._pull, headers=headers) as response:
                content = endpoint.transport.read(response, MAX_DOCUMENT)
            found = _verified(response, content, reference)
            if endpoint is not self._registry and found.media_type not in (*ALL, *_SIGNED_TYPES):
                raise RegistryError(f"{endpoint.host} sends what is no manifest")
            return found

        try:
            return self._fetched(fetch)
        except RegistryError as error:
            raise self._explained(error, reference) from None

    def head(self, reference: str) -> Digest | None:
        """The digest of a tag's manifest, None where there is none."""
        path = f"/v2/{self.name.path}/manifests/{reference}"
        headers = {"Accept": ", ".join(ALL)}
        with self._registry.ask("HEAD", path, expected=(200, 404), scopes=self._pull, headers=headers) as response:
            claimed = response.headers.get(_CONTENT_DIGEST, "")
        if response.status_code == 404:
            return None
        return _digest(response, claimed) if claimed else self.manifest(reference).digest

    def blob(self, digest: Digest, size: int, sink: Sink, tell: Callable[[int], None] = ignore) -> None:
        """Writes the *size* bytes of a blob to *sink*, whose maker verifies its digest.

        *tell* hears now and then how many bytes have come in all; what it raises ends the download.
        """
        path = f"/v2/{self.name.path}/blobs/{digest}"
        download = Download(digest, size, sink, tell)
        try:
            self._fetched(lambda endpoint: download.fetch(endpoint, path, self._pull))
        except RegistryError as error:
            if error.status == 404:
                raise NotFound(f"{self.name.familiar_name} has no blob {digest}: {error}") from None
            raise

    def has_blob(self, digest: Digest) -> bool:
        """Whether the registry has the blob in this repository."""
        path = f"/v2/{self.name.path}/blobs/{digest}"
        with self._registry.ask("HEAD", path, expected=(200, 404), scopes=self._push) as response:
            return response.status_code == 200

    def mount(self, digest: Digest, source_path: str) -> bool:
        """Makes a blob of another repository of this registry one of this one; whether it could be done."""
        path = f"/v2/{self.name.path}/blobs/uploads/?mount={digest}&from={source_path}"
        scopes = (*self._push, f"repository:{source_path}:pull")
        headers = {"Content-Length": "0"}
        with self._registry.ask("POST", path, expected=(201, 202), scopes=scopes, headers=headers) as response:
            if response.status_code == 201:
                return True
        abandon(self._registry, f"/v2/{self.name.path}/blobs/", self._push, response)
        return False

    def upload(self, digest: Digest, size: int, open_at: OpenAt, tell: Callable[[int], None] = ignore) -> None:
        """Sends a blob, resumed where a connection breaks; ``open_at(offset)`` opens it for reading from there.

        *tell* hears now and then how many bytes have gone in all; what it raises ends the upload.
        """
        Upload(digest, size, open_at, tell).send(self._registry, f"/v2/{self.name.path}/blobs/", self._push)

    def put_manifest(self, reference: str, content: bytes, media_type: str) -> Digest:
        """Makes these bytes the manifest of a tag or a digest."""
        path = f"/v2/{self.name.path}/manifests/{reference}"
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        with self._registry.ask(
            "PUT", path, expected=(201, 202), scopes=self._push, headers=headers, body=lambda: (content,)
        ) as response:
            return _verified(response, content, reference).digest

    def tags(self) -> tuple[str, ...]:
        """The tags, in the registry's order."""
        path = f"/v2/{self.name.path}/tags/list"

        def fetch(endpoint: Endpoint) -> tuple[str, ...]:
            answers = pages(endpoint, path, distribution.TagList, self._pull)
            return tuple(itertools.islice((tag for page in answers for tag in page.tags or ()), _MOST_TAGS))

        try:
            return self._fetched(fetch)
        except RegistryError as error:
            raise self._explained(error, "") from None

    def _fetched(self, fetch: Callable[[Endpoint], T]) -> T:
        """What the first mirror has that has it, or else the registry; its error is the one that counts."""
        for mirror in self._mirrors:
            if not mirror.lost:
                with contextlib.suppress(RegistryError):
                    return fetch(mirror)
        return fetch(self._registry)

    def _explained(self, error: RegistryError, reference: str) -> SandboxError:
        """The error of a pull, in Docker's words."""
        name = self.name.familiar_name
        if error.code == "DENIED":
            text = f"pull access denied for {name}, repository does not exist or may require 'login': {error}"
            return Unauthorized(text, error.status, error.code)
        if error.code == "NAME_UNKNOWN" or (error.status == 404 and not reference):
            return NotFound(f"repository {name} not found: {error}")
        if error.code == "MANIFEST_UNKNOWN" or error.status == 404:
            separator = "@" if ":" in reference else ":"
            return NotFound(f"manifest for {name}{separator}{reference} not found: {error}")
        return error


def _verified(response: httpx.Response, content: bytes, reference: str) -> Fetched:
    """The manifest, if it has the digest that was asked for and the one that the server gives it."""
    digest = Digest.of(content)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    claimed = "" if media_type in _SIGNED_TYPES else response.headers.get(_CONTENT_DIGEST, "")
    for expected in (claimed, reference if ":" in reference else ""):
        if expected:
            digest = _digest(response, expected)
            if hashlib.new(digest.algorithm, content).hexdigest() != digest.hex:
                raise RegistryError(f"{netloc(response.url)} sends a manifest that is not {expected}")
    return Fetched(content, media_type, digest)


def _digest(response: httpx.Response, text: str) -> Digest:
    try:
        return Digest.parse(text)
    except CorruptContent as error:
        raise RegistryError(f"{netloc(response.url)} gives no digest: {error}") from None
