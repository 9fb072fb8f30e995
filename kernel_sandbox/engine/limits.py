"""What of this machine can be limited, and whether limits that are asked for can be here."""

from __future__ import annotations

import os

from kernel_sandbox.runtime import cgroups
from kernel_sandbox.spec import limits as plan
from kernel_sandbox.spec.options import Limits

_ONLINE_CPUS = "/sys/devices/system/cpu/online"
_ONLINE_NODES = "/sys/devices/system/node/online"


def check(wanted: Limits) -> None:
    """Raises UsageError for limits that contradict each other or this machine."""
    if wanted == Limits():
        return
    processors = os.cpu_count() or 1
    cpus = cgroups.available("cpuset.cpus") or _read(_ONLINE_CPUS) or f"0-{processors - 1}"
    mems = cgroups.available("cpuset.mems") or _read(_ONLINE_NODES) or "0"
    plan.check(wanted, plan.Machine(processors, cpus, mems))


def warnings(wanted: Limits) -> tuple[str, ...]:
    """What Docker says of limits that this machine knows nothing of, and that are left out then."""
    if wanted.blkio_weight and not cgroups.has_block_weights():
        return ("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",)
    return ()


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
