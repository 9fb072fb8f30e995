"""``stats``: what containers use, from one reading to the next, by Docker's formulas."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kernel_sandbox.runtime import statistics
from kernel_sandbox.spec.options import Network
from kernel_sandbox.storage.state import Container

_NOTHING = statistics.Usage(0, 0, 0, 0, 0, 0, 0, 0, 0)


class Statistics(msgspec.Struct, frozen=True):
    """A container and what it uses: *cpu* in hundredths of one processor since the reading before, *memory* in
    hundredths of its limit. All is zero for one that does not run."""

    container: Container
    cpu: float
    memory: float
    usage: statistics.Usage


class Meter:
    """Reads what containers use, again and again."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], statistics.Usage] = {}

    def read(self, containers: Iterable[Container]) -> tuple[Statistics, ...]:
        """A reading of these containers; the first of a container's run tells nothing about processors."""
        before, self._before = self._before, {}
        return tuple(self._statistics(container, before) for container in containers)

    def _statistics(self, container: Container, before: dict[tuple[str, int], statistics.Usage]) -> Statistics:
        if not container.pid:
            return Statistics(container, 0, 0, _NOTHING)
        own_network = container.options.network is not Network.HOST
        usage = statistics.usage(container.pid, container.cgroups, own_network)
        run = (container.id, container.started)
        self._before[run] = usage
        earlier = before.get(run, usage)
        elapsed = usage.time - earlier.time
        cpu = max(0, usage.cpu - earlier.cpu) / elapsed * 100 if elapsed else 0.0
        return Statistics(container, cpu, usage.memory / usage.memory_limit * 100, usage)
