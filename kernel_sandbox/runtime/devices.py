"""Devices for a container of real root's: nodes with owners that the container knows, in a detached mount.

In a user namespace no node can be made that opens anything, and of the host's own nodes only what their permissions
give to others is of use there. Which devices, and whose they are, is the engine's to say.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

import msgspec

from kernel_sandbox.linux import syscalls


class Node(msgspec.Struct, frozen=True):
    """A device to be made: its type and permissions, its number, and its owners on the host."""

    mode: int
    number: int
    uid: int
    gid: int


def make(nodes: Iterable[Node]) -> list[int]:
    """A detached mount that holds the nodes, named by their numbers in order; nothing for none."""
    wanted = tuple(nodes)
    if not wanted:
        return []
    holder = syscalls.fsmount("tmpfs", {"mode": "0755"}, syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC)
    try:
        for name, node in enumerate(wanted):
            os.mknod(str(name), stat.S_IFMT(node.mode), node.number, dir_fd=holder)
            os.chown(str(name), node.uid, node.gid, dir_fd=holder, follow_symlinks=False)
            os.chmod(str(name), stat.S_IMODE(node.mode), dir_fd=holder)
    except BaseException:
        os.close(holder)
        raise
    return [holder]


def taken(targets: Mapping[str, Node], directory: str) -> dict[str, int]:
    """The nodes by their targets, each a mount of its own, once the mount that holds them is at *directory*."""
    flags = syscalls.OPEN_TREE_CLONE
    return {
        target: syscalls.open_tree(syscalls.AT_FDCWD, f"{directory}/{name}", flags)
        for name, target in enumerate(targets)
    }


def shared_memory(pid: int) -> int:
    """A detached copy of what another container, whose process *pid* is, has at /dev/shm.

    A mount can be copied from inside its mount namespace alone; the calling process is back in its own afterwards, with
    its root for working directory.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(other, syscalls.CLONE_NEWNS)
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
        place = syscalls.openat2(syscalls.AT_FDCWD, "/dev/shm", os.O_PATH | os.O_DIRECTORY, resolve=resolve)
        try:
            return syscalls.open_tree(place, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
        finally:
            os.close(place)
            syscalls.setns(own, syscalls.CLONE_NEWNS)
    finally:
        os.close(own)
        os.close(other)
