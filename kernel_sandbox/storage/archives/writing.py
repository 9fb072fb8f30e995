"""Images of the layout written for other tools, as a tar archive or a directory.

All forms are OCI image layouts (image-spec image-layout.md) with manifests and blobs byte for byte as they are stored.
``docker-archive`` is what ``docker save`` writes since Docker 25: a layout with ``manifest.json`` and ``repositories``
beside, which every Docker since 1.10 loads (since 23 where zstd has compressed a layer). The same images give the same
bytes: times are fixed, members sorted.

What does not belong here: which images are meant, and where the bytes go.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import msgspec

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec import docker_archive
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_INDEX, REF_NAME, Descriptor, Index, Manifest, decode, encode
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.layout import HEADER, ImageLayout, blob_name
from kernel_sandbox.storage.tar import BLOCK, CHUNK, END, Entry, Kind, Sink
from kernel_sandbox.storage.tar_writing import header


class Form(enum.Enum):
    """What can be written, in the words of skopeo's transports."""

    DOCKER_ARCHIVE = "docker-archive"
    OCI_ARCHIVE = "oci-archive"
    OCI_DIR = "oci-dir"


class Chosen(msgspec.Struct, frozen=True):
    """An image to be written: the descriptor of its manifest, and the names it is to have there."""

    manifest: Descriptor
    names: tuple[Reference, ...]


class Part(msgspec.Struct, frozen=True):
    """A file to be written: a document, or the content of a blob."""

    name: str
    content: bytes | Digest


def write_archive(layout: ImageLayout, images: Sequence[Chosen], form: Form, out: Sink) -> None:
    """Write a tar archive. Raises NotFound or CorruptContent where the store is damaged."""
    parts = _parts(layout, images, form)
    directories = sorted({parent for part in parts for parent in _parents(part.name)})
    for name in directories:
        out.write(header(Entry(name=f"{name}/".encode(), kind=Kind.DIRECTORY, mode=0o755)))
    for part in parts:
        size = _size(layout, part)
        out.write(header(Entry(name=part.name.encode(), kind=Kind.FILE, size=size)))
        _write(layout, part, size, out.write)
        out.write(bytes(-size % BLOCK))
    out.write(END)


def write_directory(layout: ImageLayout, images: Sequence[Chosen], directory: str) -> None:
    """Fill an empty directory. Raises OSError, and NotFound or CorruptContent where the store is damaged."""
    for part in _parts(layout, images, Form.OCI_DIR):
        path = os.path.join(directory, part.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            _write(layout, part, _size(layout, part), file.write)


def _parts(layout: ImageLayout, images: Sequence[Chosen], form: Form) -> tuple[Part, ...]:
    manifests = [decode(Manifest, layout.read(image.manifest.digest)) for image in images]
    blobs = {image.manifest.digest for image in images}
    for manifest in manifests:
        blobs |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
    documents = {"index.json": encode(_index(images, form)), "oci-layout": encode(HEADER)}
    if form is Form.DOCKER_ARCHIVE:
        documents |= _dockers_documents(images, manifests)
    return (
        *(Part(blob_name(digest), digest) for digest in sorted(blobs)),
        *(Part(name, content) for name, content in sorted(documents.items())),
    )


def _index(images: Sequence[Chosen], form: Form) -> Index:
    return Index(
        schema_version=2,
        media_type=OCI_INDEX,
        manifests=tuple(entry for image in images for entry in _entries(image, form)),
    )


def _entries(image: Chosen, form: Form) -> Iterator[Descriptor]:
    """An image in the index, once for each of its names. Docker's own has the tag where others have the whole name."""
    plain = Descriptor(media_type=image.manifest.media_type, digest=image.manifest.digest, size=image.manifest.size)
    if not image.names:
        yield plain
    for name in image.names:
        short = name.tag or "" if form is Form.DOCKER_ARCHIVE else str(name)
        yield Descriptor(
            media_type=plain.media_type,
            digest=plain.digest,
            size=plain.size,
            annotations={docker_archive.CONTAINERD_NAME: str(name), REF_NAME: short},
        )


def _dockers_documents(images: Sequence[Chosen], manifests: Sequence[Manifest]) -> dict[str, bytes]:
    items = []
    repositories: dict[str, dict[str, str]] = {}
    for image, manifest in zip(images, manifests, strict=True):
        tags = tuple(name.familiar() for name in image.names)
        layers = tuple(blob_name(layer.digest) for layer in manifest.layers)
        items.append(
            docker_archive.Item(config=blob_name(manifest.config.digest), repo_tags=tags or None, layers=layers)
        )
        for name in image.names:
            if name.tag and manifest.layers:
                repositories.setdefault(name.familiar_name, {})[name.tag] = manifest.layers[-1].digest.hex
    documents = {docker_archive.MANIFEST: docker_archive.encode_manifest(items)}
    if repositories:
        documents[docker_archive.REPOSITORIES] = docker_archive.encode_repositories(repositories)
    return documents


def _size(layout: ImageLayout, part: Part) -> int:
    return layout.size(part.content) if isinstance(part.content, Digest) else len(part.content)


def _write(layout: ImageLayout, part: Part, size: int, write: Callable[[bytes], object]) -> None:
    """Write content of exactly this many bytes; a blob's digest is verified on the way."""
    if not isinstance(part.content, Digest):
        write(part.content)
        return
    with closing(layout.open(part.content)) as blob:
        while data := blob.read(CHUNK):
            size -= len(data)
            if size < 0:
                break
            write(data)
    if size:
        raise CorruptContent(f"{part.content} is damaged in the store: its size has changed")


def _parents(name: str) -> Iterator[str]:
    while name := os.path.dirname(name):
        yield name
