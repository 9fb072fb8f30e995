"""The documents of an archive as ``docker save`` writes it: ``manifest.json``, ``repositories``, ``ID/json``.

Follows Docker's image specification (v1.2 ``manifest.json``; v1 ``repositories`` and ``json``, the schema of 2013).
Here: their shapes, and the configuration that an image of the oldest schema has. Not here: the archive itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import MAX_DOCUMENT, MAX_LAYERS, Document

MANIFEST = "manifest.json"
REPOSITORIES = "repositories"

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation with an image's whole name, next to the one with its tag, in Docker's own index.json."""

_DROPPED = frozenset(("id", "parent", "Size", "parent_id", "layer_id", "throwaway"))
"""What Docker leaves out of an old image's document when it makes a configuration of it."""

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time

T = TypeVar("T")


class Item(Document, frozen=True, kw_only=True, rename="pascal"):
    """One image of ``manifest.json``: the members that hold its configuration and its layers, bottom first."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


class _Command(Document, frozen=True, rename="pascal"):
    cmd: tuple[str, ...] | None = None


class OldImage(Document, frozen=True, kw_only=True):
    """One ``ID/json`` of the schema of 2013: an image that is one layer over its parent."""

    id: str = ""
    parent: str = ""
    created: str = ""
    author: str = ""
    comment: str = ""
    container_config: _Command | None = None


Repositories = Mapping[str, Mapping[str, str]]
"""Which old image, or which layer, each tag of each repository names."""


def decode_manifest(data: bytes) -> tuple[Item, ...]:
    """The images of ``manifest.json``. Raises CorruptContent."""
    return _decode(data, tuple[Item, ...], MANIFEST)


def encode_manifest(items: Sequence[Item]) -> bytes:
    """``manifest.json``; every field is written, as Docker does."""
    plain = [{"Config": item.config, "RepoTags": item.repo_tags, "Layers": item.layers or ()} for item in items]
    return msgspec.json.encode(plain)


def decode_repositories(data: bytes) -> Repositories:
    """The tags of ``repositories``. Raises CorruptContent."""
    return _decode(data, dict[str, dict[str, str]], REPOSITORIES)


def encode_repositories(repositories: Repositories) -> bytes:
    """``repositories``, sorted."""
    return msgspec.json.encode(repositories, order="deterministic")


def decode_old_image(data: bytes) -> OldImage:
    """An image of the schema of 2013. Raises CorruptContent."""
    return _decode(data, OldImage, "image document")


def configuration(documents: Sequence[bytes], diff_ids: Sequence[Digest]) -> bytes:
    """The configuration that Docker gives an image of the schema of 2013, byte for byte where 1.8.3 or later wrote it.

    *documents* are the ``json`` of it and of all below it, bottom first, and *diff_ids* the digests of their layers.
    Raises CorruptContent.
    """
    if not documents or len(documents) > MAX_LAYERS:
        raise CorruptContent(f"invalid image: {len(documents)} layers, and an image has 1 to {MAX_LAYERS}")
    newest = _decode(documents[-1], dict[str, msgspec.Raw], "image document")
    fields: dict[str, object] = {key: value for key, value in newest.items() if key not in _DROPPED}
    fields["history"] = [_history(decode_old_image(each)) for each in documents]
    fields["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]}
    return _as_go_writes(msgspec.json.encode(dict(sorted(fields.items()))))


def _history(image: OldImage) -> dict[str, str]:
    command = image.container_config.cmd if image.container_config else None
    fields = {
        "created": image.created or _NEVER,
        "author": image.author,
        "created_by": " ".join(command or ()),
        "comment": image.comment,
    }
    return {key: value for key, value in fields.items() if value}


def _as_go_writes(document: bytes) -> bytes:
    """Without spaces, and with what means something to browsers escaped."""
    text = msgspec.json.format(document, indent=-1).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def _decode(data: bytes, type_: type[T], what: str) -> T:
    if len(data) > MAX_DOCUMENT:
        raise CorruptContent(f"invalid {what}: {len(data)} bytes, more than {MAX_DOCUMENT}")
    try:
        return msgspec.json.decode(data, type=decodable(type_))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptContent(f"invalid {what}: {error}") from None
    except RecursionError:
        raise CorruptContent(f"invalid {what}: nested too deeply") from None
