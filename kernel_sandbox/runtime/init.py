"""The container's first process: from the moment it is cloned until it becomes the user's command (``command``).

It is told to go on once its ids are mapped and its control groups joined, and sets up what only a process inside the
namespaces can. It imports nothing heavy, since every container runs through here.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import command, console, rootfs
from kernel_sandbox.spec import mounts
from kernel_sandbox.spec.runtime import Spec

GO = b"go"
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40
_MAX_TREES = 250


class FirstProcess(msgspec.Struct, frozen=True):
    """All that the first process needs, made before it is cloned.

    ``stdio`` are the descriptors that become 0, 1 and 2, unless the command gets a terminal; ``seccomp`` is a compiled
    BPF program. Where ``trees_are_sent``, the detached mounts arrive with the word to go; else they are opened inside.
    ``reaps``: it stays as the command's parent (``--init``).
    """

    spec: Spec
    mounts: tuple[mounts.MountOp, ...]
    trees: rootfs.TreePaths
    trees_are_sent: bool
    cgroup_mounts: Mapping[str, str]
    seccomp: bytes | None
    stdio: tuple[int, int, int]
    reaps: bool


def become(plan: FirstProcess, channel: socket.socket) -> NoReturn:
    """Turn this freshly cloned process into the container's command; never returns."""
    process = plan.spec.process
    with command.reporting(channel):
        _set_up(plan, _wait_for_go(channel), channel)
        _die_with_monitor(channel)
        if plan.reaps:
            command.reap_for(lambda: command.execute(process), process.terminal, channel)
        command.execute(process)
    raise AssertionError("execve(2) came back")


def _wait_for_go(channel: socket.socket) -> list[int]:
    word, descriptors, _, _ = socket.recv_fds(channel, len(GO), _MAX_TREES)
    if word != GO:
        os._exit(125)
    return descriptors


def _set_up(plan: FirstProcess, descriptors: list[int], channel: socket.socket) -> None:
    spec = plan.spec
    command.reset_signals()
    os.umask(0o022)
    command.become_root(may_set_groups(spec))
    os.setsid()
    if spec.linux.unshares("cgroup"):
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    command.join_fresh_keyring()
    if spec.linux.unshares("network"):
        _raise_loopback()
    opened = descriptors if plan.trees_are_sent else rootfs.open_trees(plan.trees)
    root = rootfs.assemble(plan.trees.opened(opened), plan.mounts, plan.cgroup_mounts)
    stdio = _terminal(root, spec, channel) if spec.process.terminal else plan.stdio
    if spec.linux.unshares("uts"):
        _set_names(spec)
    command.forbid_imports()
    rootfs.enter(root)
    if spec.root.readonly:
        rootfs.make_readonly()
    command.take_stdio(stdio)
    command.confine(spec.process, plan.seccomp, may_set_groups(spec))


def _terminal(root: int, spec: Spec, channel: socket.socket) -> tuple[int, int, int]:
    """A terminal of the container's own devpts, its /dev/console too."""
    ptmx = syscalls.openat2(root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, resolve=syscalls.RESOLVE_IN_ROOT)
    peer = command.make_terminal(ptmx, spec.process, channel)
    rootfs.place_console(root, peer)
    console.take(peer)
    return peer, peer, peer


def _set_names(spec: Spec) -> None:
    socket.sethostname(spec.hostname)
    if spec.domainname:
        syscalls.setdomainname(spec.domainname)


def may_set_groups(spec: Spec) -> bool:
    """A map of a single id was bought by giving up setgroups(2) (user_namespaces(7))."""
    return sum(each.size for each in spec.linux.gid_mappings) > 1


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def _die_with_monitor(channel: socket.socket) -> None:
    """Be killed when the monitor is. Changed credentials undo that, so it comes last; the monitor may be gone then."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    except PermissionError:
        return
    poll = select.poll()
    poll.register(channel, 0)
    if poll.poll(0):
        os._exit(125)
