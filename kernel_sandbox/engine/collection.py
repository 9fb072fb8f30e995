"""Garbage: layers and blobs that no image has, found by comparing what is there with what the database says.

Whoever adds some holds the store's lock together with others, and has left a pledge; whoever collects holds it alone.
Nobody waits for the other: garbage that cannot be collected now is pledged, and the last who adds collects it. A pledge
whose maker was killed tells of garbage, too.
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
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.state import State

_AT_ONCE = 100
_SUSPICION = "garbage"


class Collector:
    """Keeps layers and blobs from being collected while they are added, and collects them when nobody has them."""

    def __init__(self, paths: Paths, state: State, layout: ImageLayout, launcher: Launcher) -> None:
        self._paths = paths
        self._state = state
        self._layout = layout
        self._launcher = launcher
        self._pledges = Staging(paths.pledges)

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Around the adding of layers and blobs: what it leaves is some image's, or garbage that is collected."""
        try:
            with locks.shared(self._paths.lock), self._pledges.file():
                yield
        except BaseException:
            self._suspect()
            raise
        finally:
            if self._pledges.abandoned():
                with contextlib.suppress(SandboxError):
                    self.collect()

    def collect(self) -> None:
        """Remove every layer and blob that no image has; where some are being added, whoever adds them does it."""
        self._suspect()
        with locks.exclusive_at_once(self._paths.lock) as is_alone:
            if is_alone:
                abandoned = self._pledges.abandoned()
                self._sweep()
                for pledge in abandoned:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(pledge)

    def _suspect(self) -> None:
        """Leave a pledge without a maker. A full disk may refuse it, and is about to get some garbage back."""
        with contextlib.suppress(OSError):
            os.makedirs(self._paths.pledges, mode=0o700, exist_ok=True)
            descriptor = os.open(os.path.join(self._paths.pledges, _SUSPICION), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
            os.close(descriptor)

    def _sweep(self) -> None:
        images = self._state.images.all()
        kept = {layer.chain_id.hex for image in images for layer in image.layers}
        unneeded = [os.path.join(self._paths.layers, name) for name in os.listdir(self._paths.layers)]
        unneeded = [path for path in unneeded if os.path.basename(path) not in kept]
        for start in range(0, len(unneeded), _AT_ONCE):
            task = tasks.Trees(self._paths.home, self._paths.run, tuple(unneeded[start : start + _AT_ONCE]))
            call(self._launcher, "remove_trees", tasks.encode(task))
        needed = {blob for image in images for blob in image.blobs}
        for blob in set(self._layout.digests()) - needed:
            self._layout.remove(blob)
        self._state.images.forget_sources(needed)
