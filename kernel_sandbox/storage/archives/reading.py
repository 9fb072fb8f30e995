"""Which images an archive holds, in any of the layouts that are met, and their documents stored.

- ``manifest.json``: Docker since 1.10, podman, skopeo; since Docker 25 an OCI image layout lies beside it.
- ``index.json``: an OCI image layout (image-spec image-layout.md), with indexes nested in it.
- ``repositories`` alone: Docker before 1.10, the schema of 2013.

An image keeps its configuration byte for byte, and the manifest of an OCI layout, too. Layers that come uncompressed
in an archive of Docker's have been compressed, and get a manifest of ours.
What does not belong here: members (``members``), names and tags of the store, unpacking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from kernel_sandbox.errors import CorruptContent, NotFound, UsageError
from kernel_sandbox.spec import docker_archive, platform, reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_LAYERS,
    OCI_CONFIG,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    check_layers,
    decode,
    encode,
)
from kernel_sandbox.storage.archives.members import ArchiveMembers, Piece, digest_of, missized, put
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layout import ImageLayout, blob_name
from kernel_sandbox.storage.tar import CHUNK

_INDEX = "index.json"
_MAX_IMAGES = 1024
_MAX_NESTING = 3
_ATTESTATION = "vnd.docker.reference.type"
"""The annotation of what an index holds about an image, and that is none (BuildKit's attestations)."""

T = TypeVar("T")


class Members(Protocol):
    """What holds an image layout: an archive or a directory."""

    @property
    def layout(self) -> ImageLayout: ...
    def has(self, name: str) -> bool: ...
    def document(self, name: str) -> bytes: ...
    def blob(self, described: Descriptor) -> None: ...


class Found(msgspec.Struct, frozen=True):
    """An image whose blobs are in the layout: its manifest, its canonical names in the archive, and those of its layers
    that came uncompressed: they are no bombs, however small they have become."""

    manifest: Digest
    names: tuple[str, ...]
    compressed: tuple[Digest, ...] = ()


def read_archive(members: ArchiveMembers, wanted: Platform | None, machine: Platform) -> tuple[Found, ...]:
    """The images of an archive. Of an image for several platforms it is the *wanted* one, or the *machine*'s.

    Raises CorruptContent for what breaks a specification, NotFound where none is for the *wanted* platform.
    """
    if members.has(docker_archive.MANIFEST):
        items = _few(docker_archive.decode_manifest(members.document(docker_archive.MANIFEST)))
        manifests = dict(_own_manifests(members))
        return _chosen((_docker_image(members, item, manifests) for item in items), members, wanted)
    if members.has(_INDEX):
        return read_layout(members, wanted, machine)
    if members.has(docker_archive.REPOSITORIES):
        return _chosen(_old_images(members), members, wanted)
    raise CorruptContent("this is no archive of images: it has no manifest.json and no index.json; see `import`")


def read_layout(members: Members, wanted: Platform | None, machine: Platform) -> tuple[Found, ...]:
    """The images of an OCI image layout; see ``read_archive``."""
    if not members.has(_INDEX):
        raise CorruptContent("this is no image layout: it has no index.json")
    found = (
        Found(_stored_manifest(members, image), _names(entry))
        for entry in _few(decode(Index, members.document(_INDEX)).manifests)
        for image in _images(members, entry, wanted or machine)
    )
    return _chosen(found, members, wanted)


def _chosen(images: Iterable[Found], members: Members, wanted: Platform | None) -> tuple[Found, ...]:
    """The images for the *wanted* platform, each once, with all its names."""
    names: dict[Digest, dict[str, None]] = {}
    each: dict[Digest, Found] = {}
    for image in images:
        names.setdefault(image.manifest, {}).update(dict.fromkeys(image.names))
        each[image.manifest] = image
    found = [replace(image, names=tuple(names[image.manifest])) for image in each.values()]
    if wanted is None:
        return tuple(found)
    offered = {image: _config(members.layout, image.manifest).platform for image in found}
    suitable = tuple(image for image in found if platform.matches(wanted, offered[image]))
    if found and not suitable:
        has = ", ".join(sorted(set(map(str, offered.values()))))
        raise NotFound(f"no image for {wanted} in the archive: it has {has}")
    return suitable


def _few(images: tuple[T, ...]) -> tuple[T, ...]:
    """The images that a document lists, so few that each may cost something. Raises CorruptContent."""
    if len(images) > _MAX_IMAGES:
        raise CorruptContent(f"the archive has more than {_MAX_IMAGES} images")
    return images


def _config(layout: ImageLayout, manifest: Digest) -> ImageConfig:
    return decode(ImageConfig, layout.read(decode(Manifest, layout.read(manifest)).config.digest))


# Docker's archives


def _docker_image(members: ArchiveMembers, item: docker_archive.Item, manifests: dict[Digest, Descriptor]) -> Found:
    raw = members.document(item.config)
    config = decode(ImageConfig, raw)
    layers = item.layers or ()
    if len(layers) != len(config.rootfs.diff_ids):
        raise CorruptContent(
            f"invalid image: {len(layers)} layers in manifest.json, {len(config.rootfs.diff_ids)} in the config"
        )
    id_ = members.layout.put(raw)
    pieces = [members.layer(name) for name in layers]
    _check_diff_ids(pieces, config)
    names = tuple(_tag(name) for name in item.repo_tags or ())
    own = manifests.get(id_)
    if own and not any(piece.was_plain for piece in pieces):
        return Found(_stored_manifest(members, own), names)
    return Found(_new_manifest(members.layout, config, id_, len(raw), pieces), names, _compressed(pieces))


def _compressed(pieces: Iterable[Piece]) -> tuple[Digest, ...]:
    return tuple(piece.blob.digest for piece in pieces if piece.was_plain)


def _check_diff_ids(pieces: Sequence[Piece], config: ImageConfig) -> None:
    """Those layers that came as they are identified; the others are checked when they are unpacked."""
    for number, (piece, diff_id) in enumerate(zip(pieces, config.rootfs.diff_ids, strict=True)):
        if piece.was_plain and piece.content != diff_id:
            raise CorruptContent(f"invalid diffID for layer {number}: expected {diff_id}, got {piece.content}")


def _own_manifests(members: ArchiveMembers) -> Iterator[tuple[Digest, Descriptor]]:
    """The manifests of the OCI image layout beside ``manifest.json``, also in nested indexes, by their images' ids."""
    waiting = list(decode(Index, members.document(_INDEX)).manifests) if members.has(_INDEX) else []
    seen: set[Digest] = set()
    while waiting:
        entry = waiting.pop()
        if entry.digest in seen or not members.has(blob_name(entry.digest)):
            continue
        seen.add(entry.digest)
        if entry.media_type in MANIFEST_TYPES:
            yield decode(Manifest, _document(members, entry)).config.digest, entry
        elif entry.media_type in INDEX_TYPES:
            waiting += decode(Index, _document(members, entry)).manifests


def _new_manifest(layout: ImageLayout, config: ImageConfig, id_: Digest, size: int, pieces: Sequence[Piece]) -> Digest:
    manifest = Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=id_, size=size),
        layers=tuple(
            Descriptor(media_type=piece.media_type, digest=piece.blob.digest, size=piece.blob.size) for piece in pieces
        ),
    )
    check_layers(manifest, config)
    return layout.put(encode(manifest))


def _tag(name: str) -> str:
    try:
        return str(reference.parse_tag(name))
    except UsageError as error:
        raise CorruptContent(f"the archive calls an image {name[:200]!r}: {error}") from None


# The schema of 2013


def _old_images(members: ArchiveMembers) -> Iterator[Found]:
    diff_ids: dict[Digest, Digest] = {}
    names: dict[str, list[str]] = {}
    for repository, tags in docker_archive.decode_repositories(members.document(docker_archive.REPOSITORIES)).items():
        for tag, id_ in tags.items():
            names.setdefault(id_, []).append(_tag(f"{repository}:{tag}"))
    for id_, its_names in _few(tuple(names.items())):
        chain = _ancestry(members, id_)
        pieces = [members.layer(f"{each}/layer.tar") for each in chain]
        for piece in pieces:
            if piece.blob.digest not in diff_ids:
                diff_ids[piece.blob.digest] = _diff_id(members.layout, piece)
        described = [members.document(f"{each}/json") for each in chain]
        raw = docker_archive.configuration(described, [diff_ids[piece.blob.digest] for piece in pieces])
        config = decode(ImageConfig, raw)
        manifest = _new_manifest(members.layout, config, members.layout.put(raw), len(raw), pieces)
        yield Found(manifest, tuple(its_names), _compressed(pieces))


def _ancestry(members: ArchiveMembers, id_: str) -> list[str]:
    """An old image and those below it, bottom first."""
    chain: list[str] = []
    while id_:
        chain.append(id_)
        if len(chain) > MAX_LAYERS:
            raise CorruptContent(f"invalid image: it has more than {MAX_LAYERS} layers")
        id_ = docker_archive.decode_old_image(members.document(f"{id_}/json")).parent
    return chain[::-1]


def _diff_id(layout: ImageLayout, piece: Piece) -> Digest:
    """The digest of a layer's archive, which only its content tells."""
    if piece.was_plain:
        return piece.content
    content = hashlib.sha256()
    with layout.open(piece.blob.digest) as blob:
        archive = open_compressed(blob)
        while data := archive.read(CHUNK):
            content.update(data)
    return Digest(f"sha256:{content.hexdigest()}")


# OCI image layouts


def _images(members: Members, entry: Descriptor, wanted: Platform, depth: int = 0) -> Iterator[Descriptor]:
    """The image that an entry of an index leads to; none for what is about an image."""
    if _ATTESTATION in entry.annotations:
        return
    if entry.media_type in MANIFEST_TYPES:
        yield entry
    elif entry.media_type in INDEX_TYPES and depth < _MAX_NESTING:
        index = decode(Index, _document(members, entry))
        yield from _images(members, platform.choose(index.manifests, wanted), wanted, depth + 1)
    else:
        raise CorruptContent(f"the archive has {entry.media_type[:100]!r} where an image should be")


def _stored_manifest(members: Members, entry: Descriptor) -> Digest:
    """Store a manifest byte for byte, and what it needs. Raises CorruptContent where something is missing or wrong."""
    raw = _document(members, entry)
    manifest = decode(Manifest, raw)
    for descriptor in (manifest.config, *manifest.layers):
        members.blob(descriptor)
        size = members.layout.size(descriptor.digest)
        if size != descriptor.size:
            raise missized(descriptor, size)
    put(members.layout, raw, entry.digest)
    return entry.digest


def _document(members: Members, entry: Descriptor) -> bytes:
    raw = members.document(blob_name(entry.digest))
    if len(raw) != entry.size or digest_of(raw, entry.digest) != entry.digest:
        raise CorruptContent(f"the archive is damaged: {entry.digest} has other content")
    return raw


def _names(entry: Descriptor) -> tuple[str, ...]:
    """The name that annotations give an image.

    A bare word is a tag of nobody knows which repository, and other programs write what they like: no name.
    """
    name = entry.annotations.get(docker_archive.CONTAINERD_NAME) or entry.annotations.get(REF_NAME, "")
    try:
        return (_tag(name),) if "/" in name or ":" in name else ()
    except CorruptContent:
        return ()
