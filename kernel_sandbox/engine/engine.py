"""The engine: one store, its images and its containers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernel_sandbox.engine.containers import Containers
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.jobs import JOBS, get_ready
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.tasks import HELPER
from kernel_sandbox.engine.volumes import Volumes
from kernel_sandbox.runtime import interpreter
from kernel_sandbox.runtime.launcher import ForkLauncher, Launcher, WarmLauncher
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.state import State

if TYPE_CHECKING:
    from kernel_sandbox.engine.transfers import Transfers


class Engine:
    """Docker's verbs on one store: ``engine.images``, ``engine.containers``, ``engine.volumes``. A context manager.

    ``events`` is what has happened in it.
    """

    def __init__(self, paths: Paths, state: State, launcher: Launcher) -> None:
        self.paths = paths
        self.launcher = launcher
        self.events = state.events
        self._state = state
        self.images = Images(paths, state, launcher)
        self.containers = Containers(paths, state, launcher, self.images)
        self.volumes = Volumes(paths, state.volumes, launcher)

    @classmethod
    def open(cls, home: str | None = None) -> Engine:
        """The engine for a process that may have threads; its helper starts in the background.

        *home* is the store's directory, else KERNEL_SANDBOX_HOME or the caller's usual one. Raises StoreError.
        """
        paths = _prepared(home)
        launcher = WarmLauncher(HELPER)
        launcher.warm_up()
        return cls(paths, State.at(paths.database), launcher)

    @classmethod
    def open_single_threaded(cls, home: str | None = None) -> Engine:
        """The engine for a short-lived process with a single thread: its helper is a fork where that is safe."""
        paths = _prepared(home)
        launcher = WarmLauncher(HELPER) if interpreter.is_exposed() else ForkLauncher(JOBS, get_ready)
        launcher.start()
        return cls(paths, State.at(paths.database), launcher)

    def warm_up(self) -> None:
        """Get ready to start a container soon."""
        self.launcher.warm_up()

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
        paths.ensure()
        ImageLayout(paths.oci, Staging(paths.staging)).ensure()
        paths.ensure_reserve()
    return paths
