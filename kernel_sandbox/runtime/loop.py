"""A monitor's event loop: descriptors that become ready (epoll(7)) and times that come."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable


class Timer:
    """Something to be done at a time, unless it is cancelled."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class Loop:
    """Calls what was asked for, one thing at a time."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._actions: dict[int, Callable[[], object]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()

    def watch(self, descriptor: int, action: Callable[[], object], events: int = select.EPOLLIN) -> None:
        """Call *action* whenever the descriptor is ready; a second call changes what for."""
        if descriptor in self._actions:
            self._poll.modify(descriptor, events)
        else:
            self._poll.register(descriptor, events)
        self._actions[descriptor] = action

    def unwatch(self, descriptor: int) -> None:
        """Forget the descriptor, which must still be open; one that is not watched needs nothing."""
        if self._actions.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def after(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Call *action* once, so many seconds from now."""
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), timer))
        return timer

    def turn(self) -> None:
        """Wait until something happens, and do what was asked for then."""
        for descriptor, _ in self._poll.poll(self._timeout()):
            if action := self._actions.get(descriptor):
                action()
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, _, timer = heapq.heappop(self._timers)
            if timer.action:
                timer.action()

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def close(self) -> None:
        self._poll.close()
