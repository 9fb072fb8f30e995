"""The host's devices that a container gets (``--device``, ``--privileged``): found, and how each is shown inside.

An ordinary user's container sees the host's own nodes, whose permissions rule. Real root's has ids that the host's
nodes do not know, so that it gets nodes of its own (``runtime.devices``); with the host's ids it needs none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

import msgspec

from kernel_sandbox.errors import ContainerStartError, HostError, UsageError
from kernel_sandbox.runtime.devices import Node
from kernel_sandbox.spec.idmap import IdMap
from kernel_sandbox.spec.mounts import DEVICES
from kernel_sandbox.spec.options import Bind, Device

_ALL = frozenset("rwm")
_DEV = "/dev"
_NOT_SHARED = {"pts", "shm", "fd", "mqueue", "hugepages", "console", "ptmx", *DEVICES}
_READ, _WRITE = 0o4, 0o2
_MOST = 512
_NOT_FOUND = 127


class Found(msgspec.Struct, frozen=True):
    """Each device as a file of the host's, and, by its place inside, the node that is made for it, if any."""

    binds: tuple[Bind, ...] = ()
    nodes: dict[str, Node] = {}


def find(asked: Iterable[Device], everything: bool, own_ids: tuple[IdMap, IdMap] | None) -> Found:
    """The devices that were *asked* for, and *everything* in the host's /dev where that is wanted.

    *own_ids* are the container's, where they are none of the host's user. Raises UsageError, HostError and
    ContainerStartError.
    """
    wanted = [each for device in asked for each in _expanded(device)]
    if everything:
        wanted += [Device(path, path) for path in _below(_DEV) if path.removeprefix("/dev/") not in _NOT_SHARED]
    if len(wanted) > _MOST:
        raise HostError(f"{len(wanted)} devices are too many: a container takes at most {_MOST}")
    binds = tuple(Bind(each.source, each.target) for each in {each.target: each for each in wanted}.values())
    if own_ids is not None:
        return Found(binds, {each.target: _node(each, own_ids) for each in wanted})
    for each in wanted:
        if set(each.permissions) != _ALL:
            raise HostError(
                f"cannot give {each.source} with the permissions {each.permissions}: the host's own node is seen, "
                "whose permissions rule: leave them out, or run as root with ids of the container's own"
            )
    return Found(binds)


def _expanded(device: Device) -> Iterator[Device]:
    """The device, or those in a directory, which are seen below *target*."""
    try:
        mode = os.stat(device.source).st_mode
    except OSError as error:
        # Docker's client takes any start that fails for want of a file for a missing command.
        code = _NOT_FOUND if error.errno == errno.ENOENT else 125
        raise ContainerStartError(_complaint(device.source, (error.strerror or "").lower()), code) from None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        yield device
        return
    inside = tuple(_below(device.source)) if stat.S_ISDIR(mode) else ()
    if not inside:
        raise UsageError(_complaint(device.source, "not a device node"))
    for path in inside:
        yield Device(path, device.target + path.removeprefix(device.source), device.permissions)


def _complaint(source: str, reason: str) -> str:
    return f'error gathering device information while adding custom device "{source}": {reason}'


def _below(directory: str) -> Iterator[str]:
    """The devices in a directory and in those below, as far as the caller may look; links are none."""
    with contextlib.suppress(PermissionError), os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if directory != _DEV or entry.name not in _NOT_SHARED:
                    yield from _below(entry.path)
            elif not entry.is_symlink():
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                    yield entry.path


def _node(device: Device, own_ids: tuple[IdMap, IdMap]) -> Node:
    """With all permissions it is the container's root's; else everybody's as far as allowed, and no one's to change."""
    status = os.stat(device.source)
    type_ = stat.S_IFMT(status.st_mode)
    if set(device.permissions) == _ALL:
        uid, gid = (map_[0].host_id for map_ in own_ids)
        return Node(type_ | stat.S_IMODE(status.st_mode), status.st_rdev, uid, gid)
    bits = (_READ if "r" in device.permissions else 0) | (_WRITE if "w" in device.permissions else 0)
    return Node(type_ | bits, status.st_rdev, 0, 0)
