"""``rmi``: by Docker's rules a name goes, and the image with its last one.

An image stays as long as others were committed from it or a running container has it, by then perhaps without a name.
Force deletes that of a container that does not run: nobody else finds it any more, and it goes with the container. Not
here: events, and the collecting of what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kernel_sandbox.engine import image_names
from kernel_sandbox.errors import Conflict
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import State


class Removed(msgspec.Struct, frozen=True):
    """What ``rmi`` did: names taken away, in their familiar form, and what was deleted.

    ``deleted`` are the ids of ``images`` and of layers, in the order in which Docker tells them.
    """

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    images: tuple[Digest, ...] = ()


def remove(state: State, image: Image, name: str, force: bool = False, prune: bool = True) -> Removed:
    """Remove what *name* means, which is *image*; with *prune* also those it was committed from, as far as unneeded.

    Raises Conflict while it is in use.
    """
    return _Removal(state, force, prune).of(image, name)


class _Removal:
    """One removal under way, and what it has done so far."""

    def __init__(self, state: State, force: bool, prune: bool) -> None:
        self._state = state
        self._force = force
        self._prune = prune
        self._untagged: list[str] = []
        self._deleted: list[str] = []
        self._images: list[Digest] = []

    def of(self, image: Image, name: str) -> Removed:
        """Remove a name, or the image of this id."""
        names = _names(image)
        wanted = _looked_up(name)
        if wanted in names and not image_names.is_id_of(image, name):
            self._remove_name(image, wanted, name, names)
        else:
            self._remove_image(image, names)
        return Removed(tuple(self._untagged), tuple(self._deleted), tuple(self._images))

    def _remove_name(self, image: Image, wanted: Reference, name: str, names: tuple[Reference, ...]) -> None:
        """A repository's last tag takes its digests along."""
        users = self._state.containers_of_image(image.id)
        if users and not self._force and _is_single(names):
            raise Conflict(
                f'conflict: unable to remove repository reference "{name}" (must force) - '
                f"container {users[0].id[:12]} is using its referenced image {image.id.short}"
            )
        self._untag((wanted,))
        left = tuple(each for each in names if each != wanted)
        if wanted.tag and not any(each.tag for each in left if each.name == wanted.name):
            self._untag(each for each in left if each.name == wanted.name)
            left = tuple(each for each in left if each.name != wanted.name)
        if not left:
            self._delete_unless_needed(image, self._force)

    def _remove_image(self, image: Image, names: tuple[Reference, ...]) -> None:
        for conflict in self._conflicts(image, names):
            raise conflict
        self._delete(image, names)

    def _conflicts(self, image: Image, names: tuple[Reference, ...]) -> Iterator[Conflict]:
        """Why the image cannot go, in Docker's order."""
        users = self._state.containers_of_image(image.id)
        running = next((each for each in users if each.is_active), None)
        if self._state.images.children(image.id):
            yield _conflict(image, "cannot", "image has dependent child images")
        if running:
            yield _conflict(image, "cannot", f"image is being used by running container {running.id[:12]}")
        if not self._force and not _is_single(names):
            yield _conflict(image, "must", "image is referenced in multiple repositories")
        if users and not self._force:
            yield _conflict(image, "must", f"image is being used by stopped container {users[0].id[:12]}")

    def _delete_unless_needed(self, image: Image, force: bool = False) -> None:
        """Quietly: an image without a name that something needs stays as it is."""
        users = self._state.containers_of_image(image.id)
        is_needed = any(each.is_active for each in users) if force else bool(users)
        if not is_needed and not self._state.images.children(image.id):
            self._delete(image, ())

    def _delete(self, image: Image, names: tuple[Reference, ...]) -> None:
        """Forget the image with its names, and tell which of its layers no other has; then the one that it was
        committed from."""
        if self._state.containers_of_image(image.id):
            self._state.images.hide(image.id)
        else:
            self._state.images.remove(image.id)
        self._untagged += (name.familiar() for name in names)
        unused = self._state.images.unused_layers(image.layers)
        self._images.append(image.id)
        self._deleted += (image.id, *(layer.chain_id for layer in reversed(unused)))
        if self._prune and image.parent:
            for parent in self._state.images.by_id(Digest(image.parent).hex):
                if not _names(parent):
                    self._delete_unless_needed(parent)

    def _untag(self, names: Iterable[Reference]) -> None:
        for name in names:
            self._state.images.untag(str(name))
            self._untagged.append(name.familiar())


def _conflict(image: Image, must: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {image.id.short} ({must} be forced) - {reason}")


def _names(image: Image) -> tuple[Reference, ...]:
    """Tags, and digests that registries know it by."""
    return tuple(reference.parse(name) for name in sorted((*image.tags, *image.digests)))


def _looked_up(name: str) -> Reference | None:
    """The reference that an image is found by, if it is none of an id: a digest says more than a tag beside it."""
    wanted = reference.parse_any(name)
    if isinstance(wanted, Digest):
        return None
    return wanted.by_digest(wanted.digest) if wanted.digest else wanted


def _is_single(names: tuple[Reference, ...]) -> bool:
    """Whether all are of one repository, with one tag at most."""
    return len({each.name for each in names}) <= 1 and sum(each.tag is not None for each in names) <= 1
