"""What a running container uses: read from its control groups, and from /proc what these do not count.

The control groups are cgroups(7), v1 and v2 (cgroup-v1/memory.rst, cgroup-v2.rst), the rest proc(5). One reading; what
two of them mean is not decided here.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Mapping

import msgspec

from kernel_sandbox.runtime import processes

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_PROCESSOR_TIMES = slice(11, 15)


class Usage(msgspec.Struct, frozen=True):
    """One reading at *time* (nanoseconds of a clock that only goes forward).

    Processor time in nanoseconds, all else in bytes but *pids*, which counts threads, as the pids controller does.
    Memory is without what the kernel can give back at once; *memory_limit* is the machine's where there is no lower.
    """

    time: int
    cpu: int
    memory: int
    memory_limit: int
    received: int
    sent: int
    read: int
    written: int
    pids: int


def usage(pid: int, cgroups: Iterable[str], own_network: bool) -> Usage:
    """What the container whose first process is *pid* uses, all zero once that has ended.

    The network is counted where it is the container's own.
    """
    values: dict[str, int] = {}
    for group in cgroups:
        values.update(_counted(group))
    if not {"cpu", "memory", "read", "pids"} <= values.keys():
        values = {**_added_up(pid), **values}
    received, sent = _network(pid) if own_network else (0, 0)
    limit = min(values.pop("memory_limit", _machine_memory()), _machine_memory())
    return Usage(time=time.monotonic_ns(), received=received, sent=sent, memory_limit=limit, **values)


def _counted(group: str) -> dict[str, int]:
    """What the controllers in one control group say, whichever of both versions it belongs to."""
    values: dict[str, int] = {}
    if cpu := _text(f"{group}/cpuacct.usage"):
        values["cpu"] = int(cpu)
    elif microseconds := _table(f"{group}/cpu.stat").get("usage_usec"):
        values["cpu"] = int(microseconds) * 1000
    if memory := _text(f"{group}/memory.usage_in_bytes") or _text(f"{group}/memory.current"):
        statistics = _table(f"{group}/memory.stat")
        reclaimable = int(statistics.get("total_inactive_file") or statistics.get("inactive_file") or 0)
        values["memory"] = int(memory) - (reclaimable if reclaimable < int(memory) else 0)
        limit = _text(f"{group}/memory.limit_in_bytes") or _text(f"{group}/memory.max")
        values.update({"memory_limit": int(limit)} if limit.isdigit() else {})
    if pids := _text(f"{group}/pids.current"):
        values["pids"] = int(pids)
    return values | _transferred(group)


def _transferred(group: str) -> dict[str, int]:
    """Bytes to and from block devices: a line for each device and direction (v1), or for each device (v2)."""
    if text := _text(f"{group}/blkio.throttle.io_service_bytes_recursive"):
        found = re.findall(r"^\S+ (Read|Write) (\d+)$", text, re.MULTILINE)
        sums = {name: sum(int(count) for kind, count in found if kind == name) for name in ("Read", "Write")}
        return {"read": sums["Read"], "written": sums["Write"]}
    if os.path.exists(f"{group}/io.stat"):
        text = _text(f"{group}/io.stat")
        return {
            name: sum(map(int, re.findall(rf"\b{key}=(\d+)", text)))
            for name, key in (("read", "rbytes"), ("written", "wbytes"))
        }
    return {}


def _added_up(first: int) -> dict[str, int]:
    """The same from the container's processes; what those used that have ended is in their parents' account."""
    values = dict.fromkeys(("cpu", "memory", "read", "written", "pids"), 0)
    for pid in processes.pids(first):
        with contextlib.suppress(OSError, IndexError):
            numbers = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
            values["cpu"] += sum(map(int, numbers[_PROCESSOR_TIMES])) * _TICK
            values["pids"] += int(numbers[17])
            values["memory"] += int(_table(f"/proc/{pid}/smaps_rollup").get("Pss:", "0")) * 1024
            transfers = _table(f"/proc/{pid}/io")
            values["read"] += int(transfers.get("read_bytes:", "0"))
            values["written"] += int(transfers.get("write_bytes:", "0"))
    return values


def _network(pid: int) -> tuple[int, int]:
    """Bytes that came and went through all interfaces but the loopback (proc_pid_net(5), dev)."""
    received = sent = 0
    for line in _text(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            received += int(numbers.split()[0])
            sent += int(numbers.split()[8])
    return received, sent


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(path: str) -> str:
    """A file's text, empty where there is none to read: the controller is not there, the process has ended."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _table(path: str) -> Mapping[str, str]:
    """The second words of a file's lines, by the first."""
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1}
