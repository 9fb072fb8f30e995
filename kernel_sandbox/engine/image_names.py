"""What images are called: from what people type to the image, and from an image to what it is called."""

from __future__ import annotations

from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image, ImageRecords

_HEX = frozenset("0123456789abcdef")


def find(records: ImageRecords, name: str) -> Image:
    """The image that *name* means: a reference, an id or the start of one.

    Raises UsageError for what is neither, and NotFound, both in Docker's words.
    """
    wanted = reference.parse_any(name)
    if isinstance(wanted, Digest):
        found = _by_id(records, wanted)
    else:
        found = _by_reference(records, wanted) or _by_id(records, name)
    if found is None:
        raise NotFound(f"No such image: {wanted if isinstance(wanted, Digest) else wanted.familiar()}")
    return found


def _by_reference(records: ImageRecords, wanted: Reference) -> Image | None:
    """A digest says more than a tag beside it. Without a registry, an image's own manifest has one all the same."""
    if wanted.digest is None:
        return records.by_name(str(wanted))
    name = wanted.by_digest(wanted.digest)
    recorded = records.by_name(str(name))
    if recorded:
        return recorded
    return next((image for image in records.all() if name in digests(image)), None)


def _by_id(records: ImageRecords, name: str) -> Image | None:
    prefix = name.removeprefix("sha256:")
    if not prefix or not _HEX.issuperset(prefix):
        return None
    found = records.by_id(prefix)
    if len(found) > 1:
        raise UsageError(f"{name} is the start of {len(found)} images' ids: write more of it")
    return found[0] if found else None


def is_id_of(image: Image, name: str) -> bool:
    """Whether *name* is the image's id or the start of it."""
    return image.id.startswith(name) or image.id.hex.startswith(name)


def tags(image: Image) -> tuple[Reference, ...]:
    """The image's names."""
    return tuple(map(reference.parse, image.tags))


def digests(image: Image) -> tuple[Reference, ...]:
    """What the image is called by its content: as registries know it, else by its manifest's digest here.

    The latter is what a registry would know it by, were it pushed, so it can be written down before.
    """
    recorded = tuple(map(reference.parse, image.digests))
    known = {each.name for each in recorded}
    own = {each.by_digest(image.manifest) for each in tags(image) if each.name not in known}
    return tuple(sorted((*recorded, *own), key=str))
