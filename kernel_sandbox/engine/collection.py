"""Garbage: layers and blobs that no image has, found by comparing what is there with what the database says.

Whoever adds some holds the store's lock together with others, and has left a pledge; whoever collects holds it alone.
Nobody waits for the other: garbage that cannot be collected now is pledged, and the last who adds collects it. A pledge
whose maker was killed tells of garbage, too. What is pledged while somebody collects has that done again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging, store_errors
from kernel_sandbox.storage.state import State

_AT_ONCE = 100


def suspect(paths: Paths) -> None:
    """Leave a pledge without a maker: somebody is to look for garbage.

    A full disk may refuse it, and is about to get some garbage back.
    """
    with contextlib.suppress(OSError):
        os.makedirs(paths.pledges, mode=0o700, exist_ok=True)
        path = os.path.join(paths.pledges, os.urandom(16).hex())
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class Collector:
    """Keeps layers and blobs from being collected while they are added, and collects them when nobody has them."""

    def __init__(self, paths: Paths, state: State, layout: ImageLayout, launcher: Launcher) -> None:
        self._paths = paths
        self._state = state
        self._layout = layout
        self._launcher = launcher
        self._pledges = Staging(paths.pledges)
        self._staging = Staging(paths.staging)

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Around the adding of layers and blobs: what it leaves is some image's, or garbage that is collected.

        Around the reading of an image's, too, that somebody may remove meanwhile. Inside of another it leaves the
        collecting to that one.
        """
        try:
            with locks.shared(self._paths.lock), self._pledges.file():
                yield
        except BaseException:
            suspect(self._paths)
            raise
        finally:
            with contextlib.suppress(SandboxError):
                if self._pledges.abandoned():
                    self._collect()

    def collect(self) -> None:
        """Remove every layer and blob that no image has; where some are being added, whoever adds them does it."""
        suspect(self._paths)
        self._collect()

    def _collect(self) -> None:
        goes_on = True
        while goes_on:
            with locks.exclusive_at_once(self._paths.lock) as lock:
                if lock is not None:
                    self._sweep(lock)
            goes_on = lock is not None and bool(self._pledges.abandoned())

    def _sweep(self, lock: int) -> None:
        """Remove what is garbage by now, and then the pledges that told of it. *lock* is held alone."""
        suspicions = self._pledges.abandoned()
        images = self._state.images.all(hidden=True)
        self._remove_layers_but({layer.chain_id.hex for image in images for layer in image.layers}, lock)
        needed = {blob for image in images for blob in image.blobs}
        for blob in set(self._layout.digests()) - needed:
            self._layout.remove(blob)
        self._state.images.forget_sources(needed)
        with store_errors(self._paths.pledges):
            for suspicion in suspicions:
                os.unlink(suspicion)

    def _remove_layers_but(self, kept: set[str], lock: int) -> None:
        """In a job, which also removes what killed processes have half made."""
        with store_errors(self._paths.layers):
            unneeded = tuple(
                os.path.join(self._paths.layers, name) for name in os.listdir(self._paths.layers) if name not in kept
            )
        batches = [unneeded[start : start + _AT_ONCE] for start in range(0, len(unneeded), _AT_ONCE)]
        if not batches and self._staging.abandoned():
            batches = [()]
        for batch in batches:
            task = tasks.Trees(self._paths.home, self._paths.run, batch)
            call(self._launcher, "remove_layers", tasks.encode(task), (lock,))
