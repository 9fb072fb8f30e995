"""Which ids of the host stand behind a container's ids (user_namespaces(7), subuid(5)).

Three ways exist: real root gives each container a range of its own; a user with subordinate ids maps them all;
a user without any maps a single id. Reading files and writing maps is the runtime's work.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.spec.units import is_number

RANGE = 65536
# Between the ranges that distributions give to users and those of systemd-nspawn's upper end.
_FIRST_RANGE = 0x30000000
RANGES = 16384


class IdMapping(msgspec.Struct, frozen=True, rename="camel"):
    """One extent: ``size`` ids from ``container_id`` on are the host's from ``host_id`` on."""

    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


IdMap = tuple[IdMapping, ...]


def own_range(slot: int) -> IdMap:
    """The range that container number *slot* of a privileged store shares with no other container of it."""
    return (IdMapping(0, _FIRST_RANGE + slot * RANGE, RANGE),)


def single(host_id: int) -> IdMap:
    """Only root exists inside, and is *host_id* outside."""
    return (IdMapping(0, host_id, 1),)


def subordinate(host_id: int, names: tuple[str, ...], subid: str) -> IdMap:
    """Root is *host_id*; the ids from 1 on are those that *subid*, the text of subuid(5), gives to *names*."""
    extents = list(single(host_id))
    inside = 1
    for start, count in _granted(names, subid):
        extents.append(IdMapping(inside, start, count))
        inside += count
    return tuple(extents)


def _granted(names: tuple[str, ...], subid: str) -> list[tuple[int, int]]:
    granted = []
    for line in subid.splitlines():
        owner, _, extent = line.strip().partition(":")
        start, _, count = extent.partition(":")
        if owner in names and is_number(start) and is_number(count) and int(count) > 0:
            granted.append((int(start), int(count)))
    return granted


def parse(document: str) -> IdMap:
    """The mappings in the text of ``/proc/PID/uid_map``."""
    return tuple(IdMapping(*map(int, line.split())) for line in document.splitlines())


def document(mappings: IdMap) -> str:
    """The text that is written to ``/proc/PID/uid_map``."""
    return "".join(f"{each.container_id} {each.host_id} {each.size}\n" for each in mappings)


def maps(mappings: IdMap, container_id: int) -> bool:
    """Whether *container_id* exists in a user namespace with these mappings."""
    return any(each.container_id <= container_id < each.container_id + each.size for each in mappings)


def last(mappings: IdMap) -> int:
    """The highest id that exists inside."""
    return max(each.container_id + each.size for each in mappings) - 1
