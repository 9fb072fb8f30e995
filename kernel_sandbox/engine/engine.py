"""The engine: one store, its images and its containers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from kernel_sandbox.engine.jobs import JOBS, STARTING, get_ready
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.tasks import HELPER
from kernel_sandbox.runtime import interpreter
from kernel_sandbox.runtime.launcher import ForkLauncher, Launcher, WarmLauncher
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.engine.containers import Containers
    from kernel_sandbox.engine.images import Images
    from kernel_sandbox.engine.transfers import Transfers
    from kernel_sandbox.engine.volumes import Volumes


class Engine:
    """Docker's verbs on one store: ``engine.images``, ``engine.containers``, ``engine.volumes``. A context manager.

    ``events`` is what has happened in it. Each part is imported when it is first asked for.
    """

    def __init__(self, paths: Paths, state: State, launcher: Launcher) -> None:
        self.paths = paths
        self.launcher = launcher
        self.events = state.events
        self._state = state

    @cached_property
    def images(self) -> Images:
        from kernel_sandbox.engine.images import Images

        return Images(self.paths, self._state, self.launcher)

    @cached_property
    def containers(self) -> Containers:
        from kernel_sandbox.engine.containers import Containers

        return Containers(self.paths, self._state, self.launcher, self.images)

    @cached_property
    def volumes(self) -> Volumes:
        from kernel_sandbox.engine.volumes import Volumes

        return Volumes(self.paths, self._state.volumes, self.launcher)

    @classmethod
    def open(cls, home: str | None = None) -> Engine:
        """The engine for a process that may have threads; its helper starts in the background.

        *home* is the store's directory, else KERNEL_SANDBOX_HOME or the caller's usual one. Raises StoreError.
        """
        paths = _prepared(home)
        launcher = WarmLauncher(HELPER)
        launcher.warm_up(STARTING)
        return cls(paths, State.at(paths.database), launcher)

    @classmethod
    def open_single_threaded(cls, home: str | None = None) -> Engine:
        """The engine for a short-lived process with a single thread: its helper is a fork where that is safe."""
        paths = _prepared(home)
        launcher = WarmLauncher(HELPER) if interpreter.is_exposed() else ForkLauncher(JOBS, get_ready)
        launcher.start()
        return cls(paths, State.at(paths.database), launcher)

    def warm_up(self, job: str = STARTING) -> None:
        """Get ready for a job that will come soon: to start a container, if no other is named."""
        self.launcher.warm_up(job)

    @contextlib.contextmanager
    def transfers(self) -> Iterator[Transfers]:
        """``pull`` and ``push``, on connections to registries that end with this."""
        from kernel_sandbox.engine.registry_access import open_registries
        from kernel_sandbox.engine.transfers import Transfers

        with open_registries() as registries:
            yield Transfers(self.paths, self._state, self.images, registries)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the helper go. Containers go on."""
        self.launcher.close()


def _prepared(home: str | None) -> Paths:
    paths = Paths.of(home)
    if not os.path.isdir(paths.skeleton):
        from kernel_sandbox.storage.layout import ImageLayout
        from kernel_sandbox.storage.staging import Staging

        paths.ensure()
        ImageLayout(paths.oci, Staging(paths.staging)).ensure()
        paths.ensure_reserve()
        paths.ensure_skeleton()
    return paths
