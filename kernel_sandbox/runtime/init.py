"""The container's first process: from the moment it is cloned until it becomes the user's command.

It is told to go on once its ids are mapped and its control groups joined, sets up what only a process inside the
namespaces can, and ends in execve(2). It imports nothing heavy, since every container runs through here. What
goes wrong is sent back as one ``Failure``; a closed channel means that the command runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import rootfs
from kernel_sandbox.spec import capabilities, mounts
from kernel_sandbox.spec.runtime import Process, Spec

GO = b"go"
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40
_MAX_TREES = 250
_SIGNALS = frozenset(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP}


class Failure(msgspec.Struct, frozen=True):
    """Why the command does not run: the line for the user, and ``run``'s exit code."""

    message: str
    exit_code: int


@dataclass(frozen=True)
class FirstProcess:
    """All that the first process needs, made before it is cloned.

    ``stdio`` are the descriptors that become 0, 1 and 2; ``seccomp`` is a compiled BPF program. Where
    ``trees_are_sent``, the detached mounts arrive with the word to go; else they are opened inside.
    """

    spec: Spec
    mounts: tuple[mounts.MountOp, ...]
    trees: rootfs.TreePaths
    trees_are_sent: bool
    cgroup_mounts: Mapping[str, str]
    seccomp: bytes | None
    stdio: tuple[int, int, int]


def become(plan: FirstProcess, channel: socket.socket) -> NoReturn:
    """Turn this freshly cloned process into the container's command; never returns."""
    try:
        _set_up(plan, _wait_for_go(channel))
        _die_with_monitor(channel)
        _execute(plan.spec.process)
    except ContainerStartError as error:
        _report(channel, Failure(str(error), error.exit_code))
    except Exception as error:
        _report(channel, Failure(f"cannot set up the container: {error}", 125))
    os._exit(125)


def _report(channel: socket.socket, failure: Failure) -> None:
    channel.send(msgspec.msgpack.encode(failure))


def _wait_for_go(channel: socket.socket) -> list[int]:
    word, descriptors, _, _ = socket.recv_fds(channel, len(GO), _MAX_TREES)
    if word != GO:
        os._exit(125)
    return descriptors


def _set_up(plan: FirstProcess, descriptors: list[int]) -> None:
    spec = plan.spec
    _reset_signals()
    os.umask(0o022)
    _become_root(spec)
    os.setsid()
    if spec.linux.unshares("cgroup"):
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    _join_fresh_keyring()
    if spec.linux.unshares("network"):
        _raise_loopback()
    opened = descriptors if plan.trees_are_sent else rootfs.open_trees(plan.trees)
    root = rootfs.assemble(plan.trees.opened(opened), plan.mounts, plan.cgroup_mounts)
    if spec.linux.unshares("uts"):
        socket.sethostname(spec.hostname)
    rootfs.enter(root)
    if spec.root.readonly:
        rootfs.make_readonly()
    _take_stdio(plan.stdio)
    _enter_directory(spec.process)
    _confine(spec.process, plan.seccomp)
    _take_identity(spec.process, _may_set_groups(spec))


def _reset_signals() -> None:
    """What Python, the monitor or the caller ignores would stay ignored in the command (signal(7))."""
    for number in _SIGNALS:
        syscalls.rt_sigaction_default(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _become_root(spec: Spec) -> None:
    """The ids inside are valid from here on; supplementary groups of the host are left behind where allowed."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if _may_set_groups(spec):
        os.setgroups(())


def _may_set_groups(spec: Spec) -> bool:
    """A map of a single id was bought by giving up setgroups(2) (user_namespaces(7))."""
    return sum(each.size for each in spec.linux.gid_mappings) > 1


def _join_fresh_keyring() -> None:
    try:
        syscalls.join_session_keyring()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EDQUOT):
            raise


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def _take_stdio(stdio: tuple[int, int, int]) -> None:
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number, inheritable=True)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)


def _enter_directory(process: Process) -> None:
    """The working directory, with no way back to a directory of the host's."""
    try:
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        os.fchdir(syscalls.openat2(syscalls.AT_FDCWD, process.cwd, os.O_PATH | os.O_DIRECTORY, resolve=resolve))
    except OSError as error:
        raise ContainerStartError(
            f"cannot use {process.cwd!r} as the working directory: {(error.strerror or '').lower()}",
            126 if error.errno == errno.EACCES else 125,
        ) from error


def _confine(process: Process, seccomp: bytes | None) -> None:
    """Capabilities beyond the bounding set and refused system calls are out of reach from here on."""
    kept = capabilities.mask(process.capabilities.bounding)
    for number in range(len(capabilities.ALL)):
        if not kept >> number & 1:
            _drop_from_bounding_set(number)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if seccomp is not None:
        syscalls.seccomp_set_filter(seccomp)


def _drop_from_bounding_set(number: int) -> None:
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _take_identity(process: Process, may_set_groups: bool) -> None:
    if may_set_groups:
        os.setgroups(process.user.additional_gids)
    os.setresgid(process.user.gid, process.user.gid, process.user.gid)
    os.setresuid(process.user.uid, process.user.uid, process.user.uid)
    permitted = capabilities.mask(process.capabilities.permitted)
    syscalls.capset(capabilities.mask(process.capabilities.effective), permitted, 0)


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


def _execute(process: Process) -> NoReturn:
    environment = dict(entry.partition("=")[::2] for entry in process.env)
    program = _found(process.args[0], environment.get("PATH", ""))
    try:
        os.execve(program, process.args, environment)
    except OSError as error:
        raise _cannot_run(process.args[0], error) from error


def _found(name: str, path: str) -> str:
    """execvp(3)'s search, in the container's own PATH."""
    if "/" in name:
        return name
    refused: OSError | None = None
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
        if os.path.isfile(candidate):
            refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if refused:
        raise _cannot_run(name, refused)
    raise ContainerStartError(f'exec: "{name}": executable file not found in $PATH', 127)


def _cannot_run(name: str, error: OSError) -> ContainerStartError:
    reason = "is a directory" if os.path.isdir(name) else (error.strerror or "").lower()
    return ContainerStartError(f'exec: "{name}": {reason}', _invocation_code(error))


def _invocation_code(error: OSError) -> int:
    """127 for what is not there, 126 for what cannot be invoked, as Docker tells them apart."""
    return 127 if error.errno == errno.ENOENT else 126
