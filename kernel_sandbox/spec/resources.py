"""Limits as control-group files: a runtime-spec ``Resources`` becomes file and value pairs.

cgroup v1 and v2 name and count differently (config-linux.md, Control groups; cgroups(7)); values are converted as runc
and crun do. Where a controller is mounted, and writing to it, is the runtime's work.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kernel_sandbox.spec.limits import NANO, complete
from kernel_sandbox.spec.options import Limits
from kernel_sandbox.spec.runtime import BlockIO, Cpu, Memory, Pids, Resources

_PERIOD = 100_000


class Setting(msgspec.Struct, frozen=True):
    """One value for one file of one controller; an *optional* file may be missing (no swap accounting)."""

    controller: str
    file: str
    value: str
    optional: bool = False


def resources(limits: Limits) -> Resources | None:
    """What the limits come to in a bundle; None where there are none."""
    whole = complete(limits)
    found = Resources(
        memory=_memory(whole),
        cpu=_cpu(whole),
        pids=Pids(whole.pids) if whole.pids else None,
        block_io=BlockIO(whole.blkio_weight) if whole.blkio_weight else None,
    )
    return found if found else None


def _memory(limits: Limits) -> Memory | None:
    memory = Memory(limits.memory, limits.memory_reservation, limits.memory_swap)
    return memory if memory != Memory() else None


def _cpu(limits: Limits) -> Cpu | None:
    """Processors are time: so much quota in each period of a tenth of a second."""
    period, quota = limits.cpu_period, limits.cpu_quota
    if limits.nano_cpus:
        period, quota = _PERIOD, limits.nano_cpus * _PERIOD // NANO
    cpu = Cpu(limits.cpu_shares, quota, period, limits.cpuset_cpus, limits.cpuset_mems)
    return cpu if cpu != Cpu() else None


def settings_v1(resources: Resources) -> tuple[Setting, ...]:
    """The files of cgroup v1's hierarchies, in the order in which they must be written."""
    return (*_memory_v1(resources.memory or Memory()), *_cpu_v1(resources.cpu or Cpu()), *_rest_v1(resources))


def _memory_v1(memory: Memory) -> Iterator[Setting]:
    if memory.limit is not None:
        yield Setting("memory", "memory.limit_in_bytes", str(memory.limit))
    if memory.swap is not None:
        yield Setting("memory", "memory.memsw.limit_in_bytes", str(memory.swap), optional=True)
    if memory.reservation is not None:
        yield Setting("memory", "memory.soft_limit_in_bytes", str(memory.reservation))


def _cpu_v1(cpu: Cpu) -> Iterator[Setting]:
    if cpu.shares is not None:
        yield Setting("cpu", "cpu.shares", str(cpu.shares))
    if cpu.period is not None:
        yield Setting("cpu", "cpu.cfs_period_us", str(cpu.period))
    if cpu.quota is not None:
        yield Setting("cpu", "cpu.cfs_quota_us", str(cpu.quota))
    yield from _cpusets(cpu)


def _pids(pids: Pids) -> Setting:
    """Any number but a positive one is no limit."""
    return Setting("pids", "pids.max", str(pids.limit) if pids.limit > 0 else "max")


def _cpusets(cpu: Cpu) -> Iterator[Setting]:
    if cpu.cpus:
        yield Setting("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield Setting("cpuset", "cpuset.mems", cpu.mems)


def _rest_v1(resources: Resources) -> Iterator[Setting]:
    if resources.pids:
        yield _pids(resources.pids)
    if resources.block_io:
        weight = str(resources.block_io.weight)
        yield Setting("blkio", "blkio.weight", weight, optional=True)
        yield Setting("blkio", "blkio.bfq.weight", weight, optional=True)


def settings_v2(resources: Resources) -> tuple[Setting, ...]:
    """The files of the unified hierarchy."""
    return (*_memory_v2(resources.memory or Memory()), *_cpu_v2(resources.cpu or Cpu()), *_rest_v2(resources))


def _memory_v2(memory: Memory) -> Iterator[Setting]:
    """Swap is counted alone there."""
    if memory.limit is not None:
        yield Setting("memory", "memory.max", str(memory.limit))
    if memory.swap is not None:
        swap = "max" if memory.swap < 0 else str(memory.swap - (memory.limit or 0))
        yield Setting("memory", "memory.swap.max", swap, optional=True)
    if memory.reservation is not None:
        yield Setting("memory", "memory.low", str(memory.reservation))


def _cpu_v2(cpu: Cpu) -> Iterator[Setting]:
    if cpu.shares:
        yield Setting("cpu", "cpu.weight", str(cpu_weight(cpu.shares)))
    if cpu.period is not None or cpu.quota is not None:
        quota = cpu.quota if cpu.quota is not None and cpu.quota > 0 else "max"
        yield Setting("cpu", "cpu.max", f"{quota} {cpu.period or _PERIOD}")
    yield from _cpusets(cpu)


def cpu_weight(shares: int) -> int:
    """v1's shares, 2 to 262144, as v2's weight, 1 to 10000."""
    bounded = min(max(shares, 2), 262144)
    return 1 + (bounded - 2) * 9999 // 262142


def _rest_v2(resources: Resources) -> Iterator[Setting]:
    if resources.pids:
        yield _pids(resources.pids)
    if resources.block_io:
        weight = resources.block_io.weight
        yield Setting("io", "io.bfq.weight", str(weight), optional=True)
        yield Setting("io", "io.weight", str(1 + (weight - 10) * 9999 // 990), optional=True)
