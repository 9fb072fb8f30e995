"""An image out of another and one more layer: the documents that say so (image-spec config.md, manifest.md)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import (
    MAX_LAYERS,
    OCI_CONFIG,
    OCI_MANIFEST,
    ContainerConfig,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    Platform,
    RootFS,
    encode,
)

EMPTY_LAYER = Digest.of(bytes(1024))
"""The digest of an archive without entries: such a layer is history alone."""


class Origin(msgspec.Struct, frozen=True):
    """What an image's history says of its newest layer, and who made it."""

    created_by: str = ""
    comment: str = ""
    author: str = ""


class Base(msgspec.Struct, frozen=True):
    """The image below: its configuration, and its layers as its manifest lists them."""

    config: ImageConfig
    layers: tuple[Descriptor, ...]


def derive(
    base: Base | None,
    layer: Descriptor,
    diff_id: Digest,
    config: ContainerConfig,
    origin: Origin,
    created: int,
    machine: Platform,
) -> Base:
    """The image that *layer* makes of *base*, or of nothing; *created* is in nanoseconds since the epoch.

    Raises UsageError for more layers than an image may have.
    """
    is_empty = diff_id == EMPTY_LAYER
    below = base.config if base else None
    layers = (*(base.layers if base else ()), *(() if is_empty else (layer,)))
    if len(layers) > MAX_LAYERS:
        raise UsageError(f"max depth exceeded: an image has at most {MAX_LAYERS} layers")
    when = datetime.fromtimestamp(created / 1e9, UTC).isoformat().replace("+00:00", "Z")
    event = History(
        created=when,
        created_by=origin.created_by,
        author=origin.author,
        comment=origin.comment,
        empty_layer=is_empty,
    )
    document = ImageConfig(
        created=when,
        author=origin.author,
        architecture=below.architecture if below else machine.architecture,
        os="linux",
        variant=below.variant if below else machine.variant,
        config=config,
        rootfs=RootFS(
            type="layers",
            diff_ids=(*(below.rootfs.diff_ids if below else ()), *(() if is_empty else (diff_id,))),
        ),
        history=(*(below.history if below else ()), event),
    )
    return Base(document, layers)


def manifest(image: Base, config: Digest) -> Manifest:
    """The manifest of an image whose configuration is stored as *config*."""
    size = len(encode(image.config))
    return Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=config, size=size),
        layers=image.layers,
    )
