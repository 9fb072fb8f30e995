"""Containers as the store knows them: made, found, listed, renamed, and their recorded state kept true."""

from __future__ import annotations

import os
import time

import msgspec

from kernel_sandbox.engine import locks, tasks, writable
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.names import random_name, volume_name
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, NotFound, UsageError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import bundle, checks, health, options, sharing
from kernel_sandbox.spec import changes as instructions
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.image import ContainerConfig, Empty, platform_of_machine
from kernel_sandbox.spec.options import ContainerOptions, Limits
from kernel_sandbox.spec.volumes import Donor, parse_volumes_from, resolved
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.state import Container, State

_NAME_ATTEMPTS = 20
_SECONDS_TO_DIE = 30.0


class ContainerRecords:
    """The containers of one store. Every method takes a container by name, id or the start of an id."""

    def __init__(self, paths: Paths, state: State, launcher: Launcher, images: Images) -> None:
        self._paths = paths
        self._state = state
        self._launcher = launcher
        self._images = images

    def create(self, wanted: ContainerOptions) -> Container:
        """Record a container that can be started. Raises NotFound, Conflict, UsageError."""
        _check(wanted)
        writable.check(wanted)
        image = self.image_to_run(wanted)
        self._images.unpack(image)
        config = self._images.config(image).config
        bundle.command(wanted, config)
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

    def image_to_run(self, wanted: ContainerOptions) -> Image:
        """The image that a container is to be made from. Raises NotFound: it is missing, or for another platform."""
        image = self._images.find(wanted.image)
        actual = self._images.config(image).platform
        machine = platform_of_machine(os.uname().machine)
        if wanted.platform and not platforms.matches(platforms.parse(wanted.platform, machine), actual):
            raise NotFound(
                f"image with reference {wanted.image} was found but does not match the specified platform: "
                f"wanted {wanted.platform}, actual: {actual}"
            )
        return image

    def _with_volumes(self, wanted: ContainerOptions, config: ContainerConfig) -> ContainerOptions:
        """The options with other containers' volumes, the image's own, and a name for each."""
        sources = map(parse_volumes_from, wanted.volumes_from)
        donors = [Donor(self.find(key).options, readonly) for key, readonly in sources]
        return resolved(wanted, config.volumes, donors, volume_name)

    def _with_sharing(self, wanted: ContainerOptions) -> ContainerOptions:
        """The options with the ids of the containers whose namespaces are shared. Raises NotFound, UsageError."""
        donors = {type_: self.find(key) for type_, key in wanted.sharing.of_containers().items()}
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

    def find(self, key: str) -> Container:
        """The container that *key* means, its state as it is now. Raises NotFound."""
        found = self._state.find_containers(key) if key else ()
        if not found:
            raise NotFound(f"No such container: {key}")
        if len(found) > 1:
            raise UsageError(f"{key} is the start of {len(found)} containers' ids: write more of it")
        settled = self._settled(found[0])
        if settled is None:
            raise NotFound(f"No such container: {key}")
        return settled

    def list(self, all_: bool = False) -> tuple[Container, ...]:
        """The running containers, or all, newest first."""
        settled = (self._settled(container) for container in self._state.containers())
        return tuple(each for each in settled if each and (all_ or each.is_active))

    def _settled(self, container: Container) -> Container | None:
        """The container with its recorded state made true, should its monitor have been killed."""
        if not container.is_active or locks.is_held(self._paths.container(container.id).lock):
            return container
        try:
            self._call("mend", container)
        except NotFound:
            return None
        return self._state.container(container.id)

    def _call(self, job: str, container: Container) -> bytes:
        task = tasks.OneContainer(self._paths.home, self._paths.run, container.id)
        return call(self._launcher, job, tasks.encode(task))

    def config(self, container: Container) -> ContainerConfig:
        """The image configuration that the container runs with: the image's own under the container's options."""
        base = self._images.config(self._images.find(container.image)).config
        wanted = container.options
        kept = wanted.entrypoint is None
        return msgspec.structs.replace(
            base,
            user=wanted.user or base.user,
            env=instructions.merged_env(base.env, wanted.env),
            entrypoint=base.entrypoint if wanted.entrypoint is None else wanted.entrypoint,
            cmd=wanted.command or (base.cmd if kept else ()),
            working_dir=wanted.workdir or base.working_dir,
            exposed_ports={**base.exposed_ports, **dict.fromkeys(wanted.exposed, Empty())},
            labels={**base.labels, **wanted.labels},
            stop_signal=wanted.stop_signal or base.stop_signal,
            stop_timeout=base.stop_timeout if wanted.stop_timeout is None else wanted.stop_timeout,
            healthcheck=health.merged(wanted.health, base.healthcheck),
        )

    def command(self, container: Container) -> tuple[str, ...]:
        """The container's full command line."""
        return bundle.command(container.options, self._images.config(self._images.find(container.image)).config)

    def rename(self, key: str, name: str) -> None:
        """Give a container another name. Raises Conflict for one in use, UsageError."""
        if not name:
            raise UsageError("Neither old nor new names may be empty")
        container = self.find(key)
        if container.name == name.removeprefix("/"):
            raise UsageError("Renaming a container with the same name as its current name")
        self._state.rename(container, options.checked_name(name.removeprefix("/")))


def _check(wanted: ContainerOptions) -> None:
    """What can be refused before anything is made. A missing source of ``-v`` is made when the container starts."""
    checks.check(wanted)
    if wanted.limits != Limits():
        from kernel_sandbox.engine import limits

        limits.check(wanted.limits)
    for bind in wanted.binds:
        if bind.as_mount and not os.path.exists(bind.source):
            raise UsageError(f'invalid mount config for type "bind": bind source path does not exist: {bind.source}')
