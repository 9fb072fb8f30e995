"""How far a transfer has come, for whoever wants to see it."""

from __future__ import annotations

import time
from collections.abc import Callable

_INTERVAL = 0.1


class Gauge:
    """Tells how many of *size* bytes are done: the first, the last, and between them as often as people look."""

    def __init__(self, size: int, tell: Callable[[int], None]) -> None:
        self._size = size
        self._tell = tell
        self._next = 0.0

    def show(self, done: int) -> None:
        """What the listener raises ends the transfer."""
        now = time.monotonic()
        if now >= self._next or done >= self._size:
            self._next = now + _INTERVAL
            self._tell(done)
