"""A bundle's mounts and what goes with them, as operations that the container's first process carries out in order.

Options are read as mount(8) and the runtime specification name them. Every target is a path inside the
container's root and is resolved beneath it when the plan is carried out; nothing here is resolved.
"""

from __future__ import annotations

import re

import msgspec

from kernel_sandbox.spec.runtime import Spec

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80
_ATTRIBUTES = {
    "ro": RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC, "noatime": NOATIME,
    "strictatime": STRICTATIME, "nodiratime": NODIRATIME,
}  # fmt: skip
_BINDS = {"bind", "rbind"}
_PROPAGATIONS = {"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"}
_FOLLOWING = {"slave", "rslave", "shared", "rshared"}
_IGNORED = _BINDS | _PROPAGATIONS | {
    "rw", "suid", "dev", "exec", "atime", "diratime", "relatime", "norelatime", "nostrictatime", "sync", "async",
    "dirsync", "mand", "nomand", "loud", "silent", "remount", "iversion", "noiversion", "defaults",
}  # fmt: skip
_KERNELS_TYPES = {"proc", "sysfs", "cgroup"}
_SHARED_MEMORY = r"/proc/([0-9]+)/root/dev/shm"
_KERNELS_OWN = {"/dev", "/dev/shm"}

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)


class NewFilesystem(msgspec.Struct, frozen=True):
    """A fresh filesystem of the kernel's. ``attributes`` is a mask of MOUNT_ATTR_* (mount_setattr(2))."""

    target: str
    fstype: str
    attributes: int
    options: tuple[tuple[str, str | None], ...]


class Memory(msgspec.Struct, frozen=True):
    """A user's tmpfs, in a place as an image names it. It has the mode of what it covers, unless that is an option."""

    target: str
    attributes: int
    options: tuple[tuple[str, str | None], ...]


class BindMount(msgspec.Struct, frozen=True):
    """A host file or directory, with the mounts below it; made where the target is missing.

    Where it ``follows``, what is mounted on the host later is seen, too (mount_namespaces(7), MS_SLAVE). Nothing that
    the container mounts is ever seen outside. ``is_kernels``: the host's own proc, sysfs or control groups, which take
    the place of the container's.
    """

    target: str
    source: str
    attributes: int
    follows: bool = False
    is_kernels: bool = False


class SharedMemory(msgspec.Struct, frozen=True):
    """What another container, whose first process is *pid*, has at /dev/shm."""

    target: str
    pid: int
    attributes: int


class ControlGroups(msgspec.Struct, frozen=True):
    """The container's own view of the control groups, in the form in which the host has them."""

    target: str
    attributes: int


class DeviceNode(msgspec.Struct, frozen=True):
    """One of the host's harmless devices, bound to a file of that name in the container's /dev."""

    target: str
    source: str


class SymbolicLink(msgspec.Struct, frozen=True):
    """A link that /dev is expected to have, some only where there is what it leads to."""

    target: str
    content: str
    may_dangle: bool = True


class Directory(msgspec.Struct, frozen=True):
    """A directory that must exist, made where it is missing: the command's working directory."""

    target: str


class KernelParameter(msgspec.Struct, frozen=True):
    """A namespaced setting (sysctl(8)), by its path in proc."""

    target: str
    value: str


class Mask(msgspec.Struct, frozen=True):
    """A path that reads as empty, where it exists."""

    target: str


class Protect(msgspec.Struct, frozen=True):
    """A path that becomes read-only, where it exists."""

    target: str


MountOp = (
    NewFilesystem
    | Memory
    | BindMount
    | SharedMemory
    | ControlGroups
    | DeviceNode
    | SymbolicLink
    | Directory
    | KernelParameter
    | Mask
    | Protect
)


def plan(spec: Spec) -> tuple[MountOp, ...]:
    """Every mount that the bundle asks for, the default devices and links, then settings, masked paths last."""
    operations: list[MountOp] = []
    for mount in spec.mounts:
        attributes = sum(_ATTRIBUTES.get(option, 0) for option in mount.options)
        if mount.type == "tmpfs" and (donor := re.fullmatch(_SHARED_MEMORY, mount.source)):
            operations.append(SharedMemory(mount.destination, int(donor[1]), attributes))
        elif _BINDS & set(mount.options):
            follows = not _FOLLOWING.isdisjoint(mount.options)
            is_kernels = mount.type in _KERNELS_TYPES
            operations.append(BindMount(mount.destination, mount.source, attributes, follows, is_kernels))
        elif mount.type == "cgroup":
            operations.append(ControlGroups(mount.destination, attributes))
        elif mount.type == "tmpfs" and mount.destination not in _KERNELS_OWN:
            operations.append(Memory(mount.destination, attributes, _filesystem_options(mount.options)))
        else:
            options = _filesystem_options(mount.options)
            operations.append(NewFilesystem(mount.destination, mount.type, attributes, options))
        if mount.destination == "/dev":
            operations += _devices()
    operations.append(Directory(spec.process.cwd))
    for name, value in spec.linux.sysctl.items():
        operations.append(KernelParameter("/proc/sys/" + name.replace(".", "/"), value))
    operations += map(Mask, spec.linux.masked_paths)
    operations += map(Protect, spec.linux.readonly_paths)
    return tuple(operations)


def _filesystem_options(options: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    own = (option for option in options if option not in _ATTRIBUTES and option not in _IGNORED)
    return tuple((name, value if equals else None) for name, equals, value in (o.partition("=") for o in own))


def _devices() -> list[MountOp]:
    nodes: list[MountOp] = [DeviceNode(f"/dev/{name}", f"/dev/{name}") for name in DEVICES]
    links: list[MountOp] = [
        SymbolicLink(f"/dev/{name}", content, content != "/proc/kcore") for name, content in _DEV_LINKS
    ]
    return nodes + links
