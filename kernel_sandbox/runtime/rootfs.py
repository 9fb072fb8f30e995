"""A container's root filesystem, put together inside its own namespaces: the overlay, then the mount plan.

Runs in the container's first process, where the host's files are still in reach: see ``mounting`` for how each
operation is kept inside the new root.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import devices, populate
from kernel_sandbox.runtime.mounting import DIRECTORY, NEW_FILE, Builder, attach, closing, open_tree
from kernel_sandbox.spec import mounts

_STAGING = "/tmp"


class Trees(msgspec.Struct, frozen=True):
    """Detached mounts, ready to be placed: the layers topmost first, the writable part, bind sources by target.

    ``unfilled`` are the targets whose sources get what the image has there, unless they have something already.
    ``node_holder`` is the mount that holds the devices of ``nodes``.
    """

    layers: tuple[int, ...]
    writable: int
    sources: Mapping[str, int]
    unfilled: tuple[str, ...] = ()
    nodes: Mapping[str, devices.Node] = {}
    node_holder: int | None = None


class TreePaths(msgspec.Struct, frozen=True):
    """Where the host has what ``Trees`` holds open; the writable part has ``upper`` and ``work`` in it.

    ``nodes`` are devices by target, which real root makes for the container (mknod(2)).
    """

    layers: tuple[str, ...]
    writable: str
    sources: Mapping[str, str]
    unfilled: tuple[str, ...] = ()
    nodes: Mapping[str, devices.Node] = {}

    def __iter__(self) -> Iterator[str]:
        return iter((*self.layers, self.writable, *self.sources.values()))

    def opened(self, descriptors: Sequence[int]) -> Trees:
        """The same trees by their descriptors, which come in this object's own order."""
        count = len(self.layers)
        last = count + 1 + len(self.sources)
        sources = dict(zip(self.sources, descriptors[count + 1 : last], strict=True))
        holder = descriptors[last] if self.nodes else None
        return Trees(tuple(descriptors[:count]), descriptors[count], sources, self.unfilled, self.nodes, holder)


def open_trees(paths: Iterable[str], userns: int | None = None) -> list[int]:
    """A detached copy of the mount tree at each path, its owners shifted into *userns* where one is given."""
    return [open_tree(path, userns) for path in paths]


def assemble(trees: Trees, operations: Iterable[mounts.MountOp], cgroup_mounts: Mapping[str, str]) -> int:
    """Mount the overlay and carry out the plan. Returns a descriptor of the new root, not yet pivoted to.

    *cgroup_mounts* maps each v1 hierarchy's name to its mount options; it is empty where the host has the
    unified hierarchy alone.
    """
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    usual = {name: open_tree(f"/dev/{name}", None) for name in mounts.DEVICES}
    null = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    root = _mount_overlay(trees)
    for target in trees.unfilled:
        populate.fill(trees.sources[target], root, target)
    sources = {**trees.sources, **_nodes(trees)}
    builder = Builder(root, sources, usual, null, cgroup_mounts)
    for operation in operations:
        builder.carry_out(operation)
    return root


def assemble_files(trees: Trees, binds: Iterable[mounts.BindMount], base: int | None, readonly: bool) -> int:
    """The files alone, for who works on them from outside: the overlay, or the mount *base* in its place, and binds.

    Returns a descriptor of the root, which nobody pivots to.
    """
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = _mount_overlay(trees) if base is None else _mount_base(base)
    for target in trees.unfilled:
        populate.fill(trees.sources[target], root, target)
    builder = Builder(root, trees.sources, {}, -1, {})
    for bind in binds:
        builder.carry_out(bind)
    if readonly:
        syscalls.mount_setattr(root, syscalls.MOUNT_ATTR_RDONLY)
    return root


def _mount_base(base: int) -> int:
    attach(syscalls.fsmount("tmpfs", {"mode": "0755"}), os.open(_STAGING, DIRECTORY))
    os.chdir(_STAGING)
    os.mkdir("root")
    attach(base, os.open("root", DIRECTORY))
    return os.open("root", DIRECTORY)


def _mount_overlay(trees: Trees) -> int:
    attach(syscalls.fsmount("tmpfs", {"mode": "0755"}), os.open(_STAGING, DIRECTORY))
    os.chdir(_STAGING)
    names = [str(number) for number in range(len(trees.layers))]
    for name, tree in zip((*names, "rw"), (*trees.layers, trees.writable), strict=True):
        os.mkdir(name)
        attach(tree, os.open(name, DIRECTORY))
    os.mkdir("root")
    options = f"lowerdir={':'.join(names)},upperdir=rw/upper,workdir=rw/work,userxattr"
    try:
        syscalls.mount("overlay", "root", "overlay", 0, options)
    except OSError as error:
        raise ContainerStartError(
            f"cannot mount the root filesystem: {error.strerror}: the store must be on a filesystem that "
            "overlayfs takes as its upper layer (ext4, xfs, btrfs, tmpfs), under Linux 5.12 or later, as root 5.19"
        ) from error
    return os.open("root", DIRECTORY)


def _nodes(trees: Trees) -> dict[str, int]:
    """The devices made for the container, by target; the mount that holds them goes with the host's tree."""
    if trees.node_holder is None:
        return {}
    os.mkdir(f"{_STAGING}/nodes")
    attach(trees.node_holder, os.open(f"{_STAGING}/nodes", DIRECTORY))
    return devices.taken(trees.nodes, f"{_STAGING}/nodes")


def place_console(root: int, terminal: int) -> None:
    """Show the command's terminal as /dev/console too, a mount over an empty file."""
    with closing(syscalls.openat2(root, "dev", DIRECTORY, resolve=syscalls.RESOLVE_IN_ROOT)) as dev:
        place = os.open("console", NEW_FILE, 0o600, dir_fd=dev)
    attach(syscalls.open_tree(terminal, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH), place)


def enter(root: int) -> None:
    """Make the mount at *root* this process's root directory and drop the host's tree (pivot_root(2))."""
    os.fchdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    os.close(root)


def make_readonly() -> None:
    """The root mount itself becomes read-only; what is mounted below keeps its own mode."""
    with closing(os.open("/", DIRECTORY)) as root:
        syscalls.mount_setattr(root, syscalls.MOUNT_ATTR_RDONLY)
