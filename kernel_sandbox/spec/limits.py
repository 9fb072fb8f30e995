"""Limits together: which values go with each other and with a machine, and what ``update`` makes of them.

The words are Docker's. Not here: control groups' files (``resources``), what the machine has.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.errors import Conflict, UsageError
from kernel_sandbox.spec.options import Limits
from kernel_sandbox.spec.units import is_number

MINIMUM_MEMORY = 6 * 1024 * 1024
NANO = 10**9
_PERIODS = (1000, 1_000_000)
_MINIMUM_QUOTA = 1000
_WEIGHTS = (10, 1000)
_MOST_NUMBERS = 8192


class Machine(msgspec.Struct, frozen=True):
    """What there is to be limited: how many processors, and the lists of them and of memory nodes, as ``0-1``."""

    processors: int
    cpus: str
    mems: str


def check(limits: Limits, machine: Machine) -> None:
    """Refuse what contradicts itself or cannot be on this machine. Raises UsageError."""
    _check_memory(limits)
    _check_processors(limits, machine)
    _check_set(limits.cpuset_cpus, machine.cpus, "cpuset cpus", "CPUs")
    _check_set(limits.cpuset_mems, machine.mems, "cpuset mems", "memory nodes")
    if limits.blkio_weight and not _WEIGHTS[0] <= limits.blkio_weight <= _WEIGHTS[1]:
        raise UsageError("Range of blkio weight is from 10 to 1000")


def _check_memory(limits: Limits) -> None:
    memory, swap, reservation = limits.memory or 0, limits.memory_swap or 0, limits.memory_reservation or 0
    if 0 < memory < MINIMUM_MEMORY:
        raise UsageError("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        raise UsageError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise UsageError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < reservation < MINIMUM_MEMORY:
        raise UsageError("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise UsageError("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_processors(limits: Limits, machine: Machine) -> None:
    nano, period, quota = limits.nano_cpus or 0, limits.cpu_period or 0, limits.cpu_quota or 0
    for other, name in ((period, "CPU Period"), (quota, "CPU Quota")):
        if nano > 0 and other > 0:
            raise UsageError(f"Conflicting options: Nano CPUs and {name} cannot both be set")
    if not 0 <= nano <= machine.processors * NANO:
        raise UsageError(
            f"Range of CPUs is from 0.01 to {machine.processors}.00, as there are only {machine.processors} "
            "CPUs available"
        )
    if limits.cpu_shares is not None and limits.cpu_shares < 0:
        raise UsageError(f"shares of processors are positive, not {limits.cpu_shares}")
    if period and not _PERIODS[0] <= period <= _PERIODS[1]:
        raise UsageError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < _MINIMUM_QUOTA:
        raise UsageError("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _check_set(text: str, available: str, name: str, what: str) -> None:
    if not text:
        return
    try:
        wanted = numbers(text)
    except ValueError as error:
        raise UsageError(f"Invalid value {text} for {name}: {error}") from None
    if not wanted <= numbers(available):
        raise UsageError(f"Requested {what} are not available - requested {text}, available: {available}")


def numbers(text: str) -> frozenset[int]:
    """The members of a list such as ``0-2,4`` (cpuset(7), List format). Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not is_number(first) or not is_number(last) or not int(first) <= int(last) < _MOST_NUMBERS:
            raise ValueError(f"invalid format: {text}")
        found.update(range(int(first), int(last) + 1))
    return frozenset(found)


def complete(limits: Limits) -> Limits:
    """With as much swap again as memory, where nothing is said of swap."""
    if limits.memory and not limits.memory_swap:
        return msgspec.structs.replace(limits, memory_swap=2 * limits.memory)
    return limits


def updated(present: Limits, wanted: Limits) -> Limits:
    """The limits after ``update``: those *wanted* over the *present* ones. Raises Conflict where they exclude another.

    A number of processes of -1 lifts that limit.
    """
    own = complete(present)
    if wanted.memory and not wanted.memory_swap and wanted.memory > (own.memory_swap or 0):
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if own.nano_cpus and wanted.cpu_period:
        raise Conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
    if own.nano_cpus and wanted.cpu_quota:
        raise Conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
    if wanted.nano_cpus and own.cpu_period:
        raise Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
    if wanted.nano_cpus and own.cpu_quota:
        raise Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
    changed = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}
    return msgspec.structs.replace(own, **changed)
