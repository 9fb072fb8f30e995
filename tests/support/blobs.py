"""Images as a registry holds them, made without any engine: a manifest, a configuration, layers, and their digests.

What an image says may be changed at will (``altered``), for tests of what must be refused.
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from support.tar_files import Entry, tar_of

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar",
    "layer+gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "layer+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar",
    "layer+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def digest_of(content: bytes) -> str:
    """``sha256:…``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class RemoteImage:
    """What a registry has of an image: its manifest, and its blobs by digest."""

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def document(self) -> dict[str, Any]:
        """The manifest, decoded."""
        return dict(json.loads(self.manifest))

    @property
    def id(self) -> str:
        """The image's id: the digest of its configuration."""
        return str(self.document["config"]["digest"])

    @property
    def layers(self) -> tuple[str, ...]:
        """The digests of its layers, the lowest first."""
        return tuple(each["digest"] for each in self.document["layers"])

    def altered(self, alter: Callable[[dict[str, Any]], object]) -> "RemoteImage":
        """The same with another manifest: ``alter`` changes the document in place."""
        document = self.document
        alter(document)
        return replace(self, manifest=json.dumps(document).encode())


def remote_image(
    *layers: bytes | Iterable[Entry],
    types: Mapping[str, str] = OCI,
    compress: Callable[[bytes], bytes] | None = None,
    compression: str = "gzip",
    config: Mapping[str, Any] | None = None,
    machine: tuple[str, str] = ("linux", "amd64"),
    created: str = "",
) -> RemoteImage:
    """An image of these layers, each a tar archive or the entries of one.

    ``compress`` makes of an archive what is stored, and ``compression`` is what the manifest calls it: ``gzip``,
    ``zstd``, or nothing. ``config`` is the image's ``config`` member: ``Cmd``, ``Env`` and the like.
    """
    compress = compress or (gzipped if compression == "gzip" else bytes)
    archives = [each if isinstance(each, bytes) else tar_of(each) for each in layers]
    stored = [compress(archive) for archive in archives]
    described = json.dumps(
        {
            **({"created": created} if created else {}),
            "os": machine[0],
            "architecture": machine[1],
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]},
        }
    ).encode()
    kind = types[f"layer+{compression}" if compression else "layer"]
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": descriptor(described, types["config"]),
        "layers": [descriptor(blob, kind) for blob in stored],
    }
    blobs = {digest_of(blob): blob for blob in (described, *stored)}
    return RemoteImage(json.dumps(manifest).encode(), types["manifest"], blobs)


def index_of(images: Mapping[str, RemoteImage], types: Mapping[str, str] = OCI) -> bytes:
    """An index of images by platform, as ``linux/arm/v7``."""
    manifests = []
    for platform, image in images.items():
        words = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        manifests.append({**descriptor(image.manifest, image.media_type), "platform": words})
    document = {"schemaVersion": 2, "mediaType": types["index"], "manifests": manifests}
    return json.dumps(document).encode()


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """What names a blob in a manifest."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def gzipped(content: bytes) -> bytes:
    """The same bytes each time."""
    return gzip.compress(content, 6, mtime=0)
