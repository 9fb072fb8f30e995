"""What a registry has under a reference, without pulling it: for ``manifest inspect``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine.registry_access import open_registries
from kernel_sandbox.errors import CorruptContent, NotFound, RegistryError, SandboxError
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec.image import Descriptor, ImageConfig, Index, Manifest, Platform
from kernel_sandbox.spec.reference import Reference

if TYPE_CHECKING:
    from kernel_sandbox.registry.repository import Repository


class RemoteManifest(msgspec.Struct, frozen=True):
    """A manifest or an index as a registry has it: its name, its bytes, their descriptor and their meaning."""

    reference: Reference
    content: bytes
    descriptor: Descriptor
    document: Manifest | Index

    def on(self, platform: Platform | None) -> RemoteManifest:
        """The same, said to be for a platform."""
        descriptor = msgspec.structs.replace(self.descriptor, platform=platform)
        return msgspec.structs.replace(self, descriptor=descriptor)


def look(environment: Mapping[str, str], reference: Reference, insecure: bool) -> RemoteManifest:
    """What is there, as it is. Where *insecure*, TLS is not insisted on. Raises NotFound, RegistryError."""
    with open_registries(environment, reference.domain if insecure else "") as registries:
        return _fetched(registries.repository(reference.domain, reference.path), reference)


def look_closely(environment: Mapping[str, str], reference: Reference, insecure: bool) -> tuple[RemoteManifest, ...]:
    """Of an index each of its manifests, for the platform that it names; else the one for that of its configuration.

    Raises NotFound, RegistryError, and SandboxError for an index in an index.
    """
    with open_registries(environment, reference.domain if insecure else "") as registries:
        repository = registries.repository(reference.domain, reference.path)
        found = _fetched(repository, reference)
        if isinstance(found.document, Index):
            return tuple(_entry(repository, reference, each) for each in found.document.manifests)
        return (found.on(_platform(repository, found.document.config)),)


def _fetched(repository: Repository, reference: Reference) -> RemoteManifest:
    try:
        fetched = repository.manifest(str(reference.digest or reference.tag))
    except NotFound:
        raise NotFound(f"no such manifest: {reference.familiar()}") from None
    document = _decoded(fetched.media_type, fetched.content)
    descriptor = Descriptor(media_type=fetched.media_type, digest=fetched.digest, size=len(fetched.content))
    return RemoteManifest(reference, fetched.content, descriptor, document)


def _decoded(media_type: str, content: bytes) -> Manifest | Index:
    if media_type in documents.INDEX_TYPES:
        return documents.decode(Index, content)
    if media_type in documents.MANIFEST_TYPES:
        return documents.decode(Manifest, content)
    raise CorruptContent(f"unsupported manifest format: {media_type[:100]!r}")


def _entry(repository: Repository, index: Reference, entry: Descriptor) -> RemoteManifest:
    found = _fetched(repository, msgspec.structs.replace(index, digest=entry.digest))
    if isinstance(found.document, Index):
        raise SandboxError(f"{found.reference.familiar()} is an index in an index: leave --verbose out")
    return found.on(entry.platform)


def _platform(repository: Repository, config: Descriptor) -> Platform:
    """What the configuration says; nothing where it is none of an image."""
    if config.size > documents.MAX_DOCUMENT:
        raise CorruptContent(f"the configuration {config.digest} has {config.size} bytes: more than can be meant")
    content = io.BytesIO()
    repository.blob(config.digest, config.size, content)
    if hashlib.new(config.digest.algorithm, content.getvalue()).hexdigest() != config.digest.hex:
        raise RegistryError(f"the registry sends a configuration that is not {config.digest}")
    try:
        return documents.decode(ImageConfig, content.getvalue()).platform
    except CorruptContent:
        return Platform(architecture="", os="")
