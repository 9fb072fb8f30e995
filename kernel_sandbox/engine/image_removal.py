"""``rmi``: by Docker's rules a name goes, and the image with its last one.

Not here: the collecting of what it leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kernel_sandbox.errors import Conflict
from kernel_sandbox.spec import reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import Container, State


class Removed(msgspec.Struct, frozen=True):
    """What ``rmi`` did: names taken away, and ids of what was deleted."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def remove(state: State, image: Image, name: str, tag: str | None, force: bool) -> Removed:
    """Remove what *name* means: *image*, of which *tag* is that name in its canonical form, if it is none of its id.

    Raises Conflict while it is in use.
    """
    users = state.containers_of_image(image.id)
    others = tuple(each for each in image.tags if each != tag)
    if tag and others:
        return _untag(state, image, tag)
    if not tag and len(image.tags) > 1 and not force:
        raise Conflict(
            f"conflict: unable to delete {image.id.hex[:12]} (must be forced) - "
            "image is referenced in multiple repositories"
        )
    if users:
        return _remove_used(state, image, name, tag, force, users)
    return _delete(state, image)


def _remove_used(
    state: State, image: Image, name: str, tag: str | None, force: bool, users: Sequence[Container]
) -> Removed:
    """A container keeps its image; with force a last name goes all the same."""
    user = users[0].id
    if tag and force:
        return _untag(state, image, tag)
    if tag:
        raise Conflict(
            f'conflict: unable to remove repository reference "{name}" (must force) - '
            f"container {user[:12]} is using its referenced image {image.id.hex[:12]}"
        )
    running = any(each.is_active for each in users)
    must, status = ("cannot", "running") if running else ("must", "stopped")
    raise Conflict(
        f"conflict: unable to delete {image.id.hex[:12]} ({must} be forced) - "
        f"image is being used by {status} container {user[:12]}"
    )


def _untag(state: State, image: Image, tag: str) -> Removed:
    state.images.untag(tag)
    return Removed(untagged=(reference.parse(tag).familiar(),))


def _delete(state: State, image: Image) -> Removed:
    """Forget the image, and tell which of its layers no other image has."""
    state.images.remove(image.id)
    unused = state.images.unused_layers(image.layers)
    return Removed(
        untagged=tuple(reference.parse(tag).familiar() for tag in image.tags),
        deleted=(image.id, *(layer.chain_id for layer in reversed(unused))),
    )
