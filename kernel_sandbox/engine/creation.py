"""Containers in the making: what was asked for, checked, with an image, volumes and other containers' namespaces.

Here: from options to a record. Not here: finding what is recorded (``records``), starting it (``containers``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from kernel_sandbox.engine import writable
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.names import random_name, volume_name
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, NotFound, UsageError
from kernel_sandbox.spec import checks, options, sharing
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.command_line import command_line
from kernel_sandbox.spec.image import ContainerConfig, platform_of_machine
from kernel_sandbox.spec.options import ContainerOptions, Limits
from kernel_sandbox.spec.volumes import Donor, parse_volumes_from, resolved
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import Container, State

_NAME_ATTEMPTS = 20


class Creation:
    """Makes the containers of one store; *find* looks up those that others share something with."""

    def __init__(self, paths: Paths, state: State, images: Images, find: Callable[[str], Container]) -> None:
        self._paths = paths
        self._state = state
        self._images = images
        self._find = find

    def create(self, wanted: ContainerOptions) -> Container:
        """Record a container that can be started. Raises NotFound, Conflict, UsageError."""
        _check(wanted)
        writable.check(wanted)
        image = image_to_run(self._images, wanted)
        self._images.unpack(image)
        config = self._images.config(image).config
        command_line(wanted, config)
        complete = self._with_sharing(self._with_volumes(wanted, config))
        id_ = os.urandom(32).hex()
        container = (
            self._state.add_container(id_, wanted.name, image.id, time.time_ns(), complete)
            if wanted.name
            else self._create_with_random_name(id_, image, complete)
        )
        with store_errors(self._paths.home):
            for volume in complete.volumes:
                self._paths.volume(volume.name).ensure()
        return container

    def _with_volumes(self, wanted: ContainerOptions, config: ContainerConfig) -> ContainerOptions:
        """The options with other containers' volumes, the image's own, and a name for each."""
        sources = map(parse_volumes_from, wanted.volumes_from)
        donors = [Donor(self._find(key).options, readonly) for key, readonly in sources]
        return resolved(wanted, config.volumes, donors, volume_name)

    def _with_sharing(self, wanted: ContainerOptions) -> ContainerOptions:
        """The options with the ids of the containers whose namespaces are shared. Raises NotFound, UsageError."""
        donors = {type_: self._find(key) for type_, key in wanted.sharing.of_containers().items()}
        if len({donor.id for donor in donors.values()}) > 1:
            raise UsageError("cannot share the namespaces of two containers, each of which has users of its own")
        if "ipc" in donors and not sharing.is_shareable(donors["ipc"].options.sharing.ipc):
            raise UsageError(
                f"can't join IPC of container {donors['ipc'].id}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
        ids = {type_: f"{options.CONTAINER}{donor.id}" for type_, donor in donors.items()}
        return msgspec.structs.replace(wanted, sharing=msgspec.structs.replace(wanted.sharing, **ids))

    def _create_with_random_name(self, id_: str, image: Image, wanted: ContainerOptions) -> Container:
        for attempt in range(_NAME_ATTEMPTS):
            name = random_name() + (str(attempt) if attempt > 2 else "")
            try:
                return self._state.add_container(id_, name, image.id, time.time_ns(), wanted)
            except Conflict:
                continue
        raise Conflict("cannot find a free name: give one with --name")


def image_to_run(images: Images, wanted: ContainerOptions) -> Image:
    """The image that a container is to be made from. Raises NotFound: it is missing, or for another platform."""
    image = images.find(wanted.image)
    actual = images.config(image).platform
    machine = platform_of_machine(os.uname().machine)
    if wanted.platform and not platforms.matches(platforms.parse(wanted.platform, machine), actual):
        raise NotFound(
            f"image with reference {wanted.image} was found but does not match the specified platform: "
            f"wanted {wanted.platform}, actual: {actual}"
        )
    return image


def _check(wanted: ContainerOptions) -> None:
    """What can be refused before anything is made. A missing source of ``-v`` is made when the container starts."""
    checks.check(wanted)
    if wanted.limits != Limits():
        from kernel_sandbox.engine import limits

        limits.check(wanted.limits)
    for bind in wanted.binds:
        if bind.as_mount and not os.path.exists(bind.source):
            raise UsageError(f'invalid mount config for type "bind": bind source path does not exist: {bind.source}')
