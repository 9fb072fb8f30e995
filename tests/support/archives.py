"""Archives of images in every layout that is met, made without any engine or tool.

Each takes images as ``support.blobs`` makes them and gives members by name; ``packed`` makes them an archive.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from support.blobs import OCI, RemoteImage, descriptor, digest_of
from support.tar_files import Entry, tar_of

Files = dict[str, bytes]
"""Members by name; a name that ends in ``@`` is a symbolic link to what it holds."""

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def packed(files: Mapping[str, bytes]) -> bytes:
    """The members as an uncompressed tar archive."""
    return tar_of(_entry(name, content) for name, content in files.items())


def _entry(name: str, content: bytes) -> Entry:
    return Entry(name[:-1], "link", content.decode()) if name.endswith("@") else Entry(name, content=content)


def blob_files(image: RemoteImage) -> Files:
    """An image's manifest and blobs where an image layout has them."""
    blobs = {**image.blobs, image.digest: image.manifest}
    return {f"blobs/{digest.replace(':', '/')}": content for digest, content in blobs.items()}


def layout_files(entries: Sequence[Mapping[str, Any]], *images: RemoteImage) -> Files:
    """An OCI image layout whose index has these entries."""
    index = {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": list(entries)}
    files = {name: content for image in images for name, content in blob_files(image).items()}
    return {**files, "oci-layout": LAYOUT, "index.json": json.dumps(index).encode()}


def named(image: RemoteImage, name: str) -> dict[str, Any]:
    """The entry of an index that calls an image so, as podman and skopeo write it."""
    annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
    return {**descriptor(image.manifest, image.media_type), **annotations}


def oci_files(image: RemoteImage, name: str = "") -> Files:
    """An OCI image layout of one image."""
    return layout_files([named(image, name)], image)


def plain_layers(image: RemoteImage) -> list[bytes]:
    """The image's layers as uncompressed archives."""
    return [_plain(image.blobs[digest]) for digest in image.layers]


def _plain(blob: bytes) -> bytes:
    return gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob


def docker_files(image: RemoteImage, *names: str) -> Files:
    """What Docker from 1.10 to 24 writes: each layer in a directory of its own, one that was there before as a link."""
    files: Files = {f"{image.id[7:]}.json": image.blobs[image.id]}
    places: dict[bytes, str] = {}
    members = []
    for number, layer in enumerate(plain_layers(image)):
        directory = digest_of(f"{number} {digest_of(layer)}".encode())[7:]
        members.append(f"{directory}/layer.tar")
        files |= {f"{directory}/VERSION": b"1.0", f"{directory}/json": b'{"id":"%s"}' % directory.encode()}
        if layer in places:
            files[f"{directory}/layer.tar@"] = f"../{places[layer]}".encode()
        else:
            files[f"{directory}/layer.tar"] = layer
            places[layer] = f"{directory}/layer.tar"
    item = {"Config": f"{image.id[7:]}.json", "RepoTags": list(names) or None, "Layers": members}
    return {**files, "manifest.json": json.dumps([item]).encode()}


def new_docker_files(image: RemoteImage, name: str) -> Files:
    """What Docker since 25 writes: an OCI image layout and ``manifest.json``."""
    short = name.rpartition(":")[2]
    annotations = {"io.containerd.image.name": f"docker.io/library/{name}", "org.opencontainers.image.ref.name": short}
    entry = {**descriptor(image.manifest, image.media_type), "annotations": annotations}
    layers = [f"blobs/{digest.replace(':', '/')}" for digest in image.layers]
    item = {"Config": f"blobs/{image.id.replace(':', '/')}", "RepoTags": [name], "Layers": layers}
    return {**layout_files([entry], image), "manifest.json": json.dumps([item]).encode()}


def old_files(layers: Iterable[bytes], repository: str, tag: str) -> Files:
    """What Docker before 1.10 wrote: a chain of images, and ``repositories``."""
    files: Files = {}
    parent = ""
    for number, layer in enumerate(layers):
        id_ = f"{number + 1:064x}"
        document: dict[str, Any] = {
            "id": id_,
            "created": f"2014-01-0{number + 1}T00:00:00Z",
            "docker_version": "1.9.1",
            "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number} && é > <b>"]},
            "config": {"Cmd": ["true"], "Env": ["A=1"]},
            "architecture": "amd64",
            "os": "linux",
            "Size": len(layer),
        }
        if parent:
            document["parent"] = parent
        files |= {f"{id_}/json": json.dumps(document).encode(), f"{id_}/VERSION": b"1.0", f"{id_}/layer.tar": layer}
        parent = id_
    return {**files, "repositories": json.dumps({repository: {tag: parent}}).encode()}
