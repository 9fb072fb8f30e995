"""Limits as control-group files: a runtime-spec ``Resources`` becomes file and value pairs.

cgroup v1 and v2 name and count differently (config-linux.md, Control groups; cgroups(7)). Where a controller is
mounted, and writing to it, is the runtime's work.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.runtime import Memory, Resources

MINIMUM_MEMORY = 6 * 1024 * 1024


class Setting(msgspec.Struct, frozen=True):
    """One value for one file of one controller; an *optional* file may be missing (no swap accounting)."""

    controller: str
    file: str
    value: str
    optional: bool = False


def checked_memory(limit: int) -> int:
    """A memory limit in bytes as Docker takes it: at least 6 MB."""
    if limit < MINIMUM_MEMORY:
        raise UsageError("Minimum memory limit allowed is 6MB")
    return limit


def settings_v1(resources: Resources) -> tuple[Setting, ...]:
    """The files of cgroup v1's hierarchies, in the order in which they must be written."""
    settings = []
    if resources.memory and resources.memory.limit is not None:
        settings.append(Setting("memory", "memory.limit_in_bytes", str(resources.memory.limit)))
        swap = str(_memory_and_swap(resources.memory))
        settings.append(Setting("memory", "memory.memsw.limit_in_bytes", swap, optional=True))
    if resources.pids:
        settings.append(Setting("pids", "pids.max", str(resources.pids.limit)))
    return tuple(settings)


def settings_v2(resources: Resources) -> tuple[Setting, ...]:
    """The files of the unified hierarchy. Swap is counted alone there."""
    settings = []
    if resources.memory and resources.memory.limit is not None:
        limit = resources.memory.limit
        settings.append(Setting("memory", "memory.max", str(limit)))
        both = _memory_and_swap(resources.memory)
        swap = "max" if both < 0 else str(both - limit)
        settings.append(Setting("memory", "memory.swap.max", swap, optional=True))
    if resources.pids:
        settings.append(Setting("pids", "pids.max", str(resources.pids.limit)))
    return tuple(settings)


def _memory_and_swap(memory: Memory) -> int:
    """As much swap again as memory, unless said otherwise."""
    if memory.swap is not None:
        return memory.swap
    return 2 * (memory.limit or 0)
