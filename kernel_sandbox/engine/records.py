"""Containers as the store knows them: made, found, listed, renamed, and their recorded state kept true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec.command_line import command_line

if TYPE_CHECKING:
    from kernel_sandbox.engine.images import Images
    from kernel_sandbox.engine.paths import Paths
    from kernel_sandbox.spec.image import ContainerConfig
    from kernel_sandbox.spec.options import ContainerOptions
    from kernel_sandbox.storage.state import Container, State


class ContainerRecords:
    """The containers of one store. Every method takes a container by name, id or the start of an id."""

    def __init__(self, paths: Paths, state: State, launcher: Launcher, images: Images) -> None:
        self._paths = paths
        self._state = state
        self._launcher = launcher
        self._images = images

    def create(self, wanted: ContainerOptions) -> Container:
        """Record a container that can be started. Raises NotFound, Conflict, UsageError."""
        from kernel_sandbox.engine.creation import Creation

        return Creation(self._paths, self._state, self._images, self.find).create(wanted)

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
        """The image configuration that the container runs with: the image's own under the container's options.

        Without what only a build looks at.
        """
        from kernel_sandbox.spec import health
        from kernel_sandbox.spec.environment import merged_env
        from kernel_sandbox.spec.image import Empty
        from kernel_sandbox.spec.mount_flags import cleaned

        base = self._images.config(self._images.of_container(container)).config
        wanted = container.options
        kept = wanted.entrypoint is None
        own_volumes = (each.target for each in wanted.volumes if each.anonymous and not each.as_mount)
        return msgspec.structs.replace(
            base,
            user=wanted.user or base.user,
            env=merged_env(base.env, wanted.env),
            entrypoint=base.entrypoint if wanted.entrypoint is None else wanted.entrypoint,
            cmd=wanted.command or (base.cmd if kept else ()),
            working_dir=wanted.workdir or base.working_dir,
            exposed_ports={**base.exposed_ports, **dict.fromkeys(wanted.exposed, Empty())},
            labels={**base.labels, **wanted.labels},
            stop_signal=wanted.stop_signal or base.stop_signal,
            stop_timeout=wanted.stop_timeout,
            healthcheck=health.merged(wanted.health, base.healthcheck),
            volumes=dict.fromkeys((*map(cleaned, base.volumes), *own_volumes), Empty()),
            on_build=(),
            shell=(),
        )

    def command(self, container: Container) -> tuple[str, ...]:
        """The container's full command line."""
        return command_line(container.options, self._images.config(self._images.of_container(container)).config)

    def rename(self, key: str, name: str) -> None:
        """Give a container another name. Raises Conflict for one in use, UsageError."""
        from kernel_sandbox.spec.options import checked_name

        if not name:
            raise UsageError("Neither old nor new names may be empty")
        container = self.find(key)
        if container.name == name.removeprefix("/"):
            raise UsageError("Renaming a container with the same name as its current name")
        self._state.rename(container, checked_name(name.removeprefix("/")))
