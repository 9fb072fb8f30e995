"""Interrupting the cell ends the container: SIGINT, then SIGTERM, then SIGKILL, as long as it takes.

While a container runs, the interrupt is a signal handler's matter and raises nothing, so that the output is read to
its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds from one signal to the next
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


class Interrupted(KeyboardInterrupt):
    """The cell was interrupted. It counts as failed, and shows its one line only."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook for what is shown of an exception."""
        return [str(self)]


class Escalation:
    """Sends one signal after the other through *kill*; an interrupt sends the next at once."""

    def __init__(self, kill: Callable[[int], None], patience: float = PATIENCE) -> None:
        self._kill = kill
        self._patience = patience
        self._left = iter(_SIGNALS)
        self._timer: threading.Timer | None = None
        self.has_begun = False

    def advance(self, *_: object) -> None:
        """Send the next signal and set the time for the one after it; a signal handler."""
        self._stop_timer()
        number = next(self._left, None)
        if number is None:
            return
        self.has_begun = True
        self._timer = threading.Timer(self._patience, self.advance)
        self._timer.daemon = True
        self._timer.start()
        self._kill(number)

    def close(self) -> None:
        """Send no more."""
        self._left = iter(())
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def escalating(kill: Callable[[int], None]) -> Iterator[Escalation]:
    """Inside, interrupts of the main thread do not raise KeyboardInterrupt but escalate."""
    escalation = Escalation(kill)
    if threading.current_thread() is not threading.main_thread():
        yield escalation
        return
    previous = signal.signal(signal.SIGINT, escalation.advance)
    try:
        yield escalation
    finally:
        signal.signal(signal.SIGINT, previous)
        escalation.close()
