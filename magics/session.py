"""The notebook's one engine, opened in the background while its reader reads on.

The engine's modules are imported there too, so that loading the extension costs next to nothing.
"""

from __future__ import annotations

import contextlib
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from kernel_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine


_USUAL = ("run", "ps", "images")
_USUAL_PARTS = ("creation", "containers", "attachment")


class Session:
    """Holds the engine from its first use, or from ``start``, until ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def start(self) -> None:
        """Begin to open the engine; what keeps it from opening shows when it is needed."""
        threading.Thread(target=self._warm_up, name="kernel-sandbox", daemon=True).start()

    def _warm_up(self) -> None:
        from kernel_sandbox.commands.tree import root

        for name in _USUAL:
            root.find(name)
        for module in _USUAL_PARTS:
            import_module(f"kernel_sandbox.engine.{module}")
        with contextlib.suppress(SandboxError):
            self.engine()

    def engine(self) -> Engine:
        """The engine, once it is there. Raises StoreError where the store cannot be used."""
        from kernel_sandbox.engine import Engine

        with self._lock:
            if self._engine is None:
                self._engine = Engine.open()
            return self._engine

    def close(self) -> None:
        """Let the engine go."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
