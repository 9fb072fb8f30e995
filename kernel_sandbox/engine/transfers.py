"""Docker's ``pull`` and ``push``: which repositories, tags and images are meant, and what is told and recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.pulling import Puller
from kernel_sandbox.engine.pushing import Pusher
from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec.image import Platform, platform_of_machine
from kernel_sandbox.spec.progress import Progress, Tell
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.registry.client import Registries

_RESERVED = "scratch"


class Transfers:
    """Images between one store and *registries*, which stay the caller's to close."""

    def __init__(self, paths: Paths, state: State, images: Images, registries: Registries) -> None:
        self._paths = paths
        self._state = state
        self._images = images
        self._registries = registries

    def pull(self, wanted: Reference, platform: str, tell: Tell) -> None:
        """Have the image that *wanted* names in the store, or every tag of the repository where it names none.

        *platform* is a specifier, empty for this machine's. Raises NotFound, RegistryError, CorruptContent.
        """
        if wanted.familiar_name == _RESERVED:
            raise UsageError(f"'{_RESERVED}' is a reserved name")
        machine = platform_of_machine(os.uname().machine)
        suited = platforms.parse(platform, machine) if platform else machine
        puller = Puller(
            self._paths,
            self._state,
            self._images,
            suited,
            self._registries.settings.downloads,
            self._registries.close,
        )
        repository = self._registries.repository(wanted.domain, wanted.path)
        is_single = bool(wanted.tag or wanted.digest)
        tags = () if is_single else repository.tags()
        references_ = (wanted,) if is_single else tuple(msgspec.structs.replace(wanted, tag=tag) for tag in tags)
        pulled = [puller.pull(repository, each, tell) for each in references_]
        self._record("pull", wanted, self._images.labels(pulled[0].image) if is_single else {})
        known_as = (wanted.by_digest(wanted.digest) if wanted.digest else wanted).familiar()
        outcome = "Downloaded newer image" if any(each.is_newer for each in pulled) else "Image is up to date"
        tell(Progress(f"Status: {outcome} for {known_as}"))
        if platform and is_single and not pulled[0].is_chosen:
            self._warn(wanted, suited, self._images.config(pulled[0].image).platform, tell)

    @staticmethod
    def _warn(wanted: Reference, suited: Platform, actual: Platform, tell: Tell) -> None:
        """An image that no index offered is here whatever it is for."""
        if not platforms.matches(suited, actual):
            tell(
                Progress(
                    f"WARNING: image with reference {wanted.familiar_name} was found but does not match the specified "
                    f"platform: wanted {suited}, actual: {actual}"
                )
            )

    def push(self, wanted: Reference, tell: Tell) -> str:
        """Give the registry the image that has this name, or every image of the repository where it names no tag.

        Returns the last line, as Docker has it. Raises NotFound, RegistryError.
        """
        tell(Progress(f"The push refers to repository [{wanted.name}]"))
        repository = self._registries.repository(wanted.domain, wanted.path)
        pusher = Pusher(self._state, self._images, self._registries.settings.uploads, self._registries.close)
        with self._images.adding():  # nothing is collected meanwhile, whoever removes an image
            *first, last = self._named(wanted).items()
            for name, image in first:
                tell(Progress(pusher.push(repository, image, name, tell)))
                self._record("push", name, self._images.labels(image))
            line = pusher.push(repository, last[1], last[0], tell)
            self._record("push", last[0], self._images.labels(last[1]))
        return line

    def _named(self, wanted: Reference) -> dict[Reference, Image]:
        """The images of a repository by their names here, of which the wanted tag is one. Raises NotFound."""
        named = {references.parse(tag): image for image in self._images.list() for tag in image.tags}
        here = {name: named[name] for name in sorted(named, key=str) if name.name == wanted.name}
        if not here:
            raise NotFound(f"An image does not exist locally with the tag: {wanted.familiar_name}")
        if wanted.tag is None:
            return here
        if wanted not in here:
            raise NotFound(f"tag does not exist: {wanted.familiar()}")
        return {wanted: here[wanted]}

    def _record(self, action: str, name: Reference, labels: Mapping[str, str]) -> None:
        """As Docker does, under the name and not the id."""
        self._state.events.record("image", action, name.familiar(), {**labels, "name": name.familiar_name})
