"""System calls that Python's ``os`` does not have, each under its man-page name.

This is the only module that uses ctypes. A wrapper converts its arguments, calls, and raises ``OSError`` with
the call's errno; what a call is good for is its caller's business. Numbers above 400 are the same on every
architecture; the few older calls without a C library function are listed per machine.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
# Called with the interpreter lock held: a clone must not come back in two processes that both wait for it.
_libc_locked = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc_locked.syscall.restype = ctypes.c_long

_NR_BY_MACHINE = {
    "x86_64": {"keyctl": 250, "pivot_root": 155, "seccomp": 317, "capset": 126, "rt_sigaction": 13},
    "aarch64": {"keyctl": 219, "pivot_root": 41, "seccomp": 277, "capset": 91, "rt_sigaction": 134},
}
_NR_OLD = _NR_BY_MACHINE.get(os.uname().machine, _NR_BY_MACHINE["aarch64"])
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_CLONE3 = 435
_NR_CLOSE_RANGE = 436
_NR_OPENAT2 = 437
_NR_MOUNT_SETATTR = 442

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000
CLONE_PARENT = 0x00008000
SIGCHLD = 17

MS_NOSUID = 2
MS_NODEV = 4
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38

_KEYCTL_JOIN_SESSION_KEYRING = 1
_SECCOMP_SET_MODE_FILTER = 1
_CAPABILITY_VERSION_3 = 0x20080522
CLOSE_RANGE_CLOEXEC = 4
_ATTEMPTS = 1000


def _result(value: int, path: str | bytes | None = None) -> int:
    if value < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), path)
    return value


def _syscall(number: int, *arguments: object, path: str | bytes | None = None) -> int:
    return _result(_libc.syscall(ctypes.c_long(number), *arguments), path)


def _path(path: str | bytes) -> bytes:
    return os.fsencode(path)


def clone3(flags: int, child: Callable[[], None], cgroup: int | None = None) -> tuple[int, int]:
    """clone3(2) in the manner of fork(2): *child* runs in a new process and never returns here.

    Returns the child's process id and a pidfd. The calling process must have one thread only. The child ends
    with status 125 should *child* come back or raise. *cgroup* is a descriptor of the v2 group to start in. With
    CLONE_PARENT the child is the caller's parent's.
    """
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD | (0 if cgroup is None else CLONE_INTO_CGROUP)
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    arguments = struct.pack("=11Q", flags, ctypes.addressof(pidfd), 0, 0, exit_signal, *[0] * 5, cgroup or 0)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc_locked.syscall(ctypes.c_long(_NR_CLONE3), arguments, ctypes.c_size_t(len(arguments)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        try:
            child()
        finally:
            os._exit(125)
    errno = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(errno, os.strerror(errno))
    return pid, pidfd.value


def unshare(flags: int) -> None:
    """unshare(2)."""
    _result(_libc.unshare(flags))


def setns(fd: int, flags: int) -> None:
    """setns(2)."""
    _result(_libc.setns(fd, flags))


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    _result(_libc.setdomainname(name.encode(), ctypes.c_size_t(len(name.encode()))))


def set_command_line(name: bytes) -> None:
    """Show *name* as the calling process's command line (proc_pid_cmdline(5)) and name (PR_SET_NAME)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if end > start:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, name, min(len(name), end - start - 1))
    _result(_libc.prctl(PR_SET_NAME, name.rpartition(b"/")[2][:15]))


def mount(source: str, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    _result(
        _libc.mount(
            _path(source),
            _path(target),
            fstype.encode() if fstype else None,
            ctypes.c_ulong(flags),
            os.fsencode(data) if data else None,
        ),
        target,
    )


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _result(_libc.umount2(_path(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _syscall(_NR_OLD["pivot_root"], _path(new_root), _path(put_old), path=new_root)


def open_tree(dirfd: int, path: str | bytes, flags: int) -> int:
    """open_tree(2): with OPEN_TREE_CLONE, a detached copy of the mount at *path*. Returns a descriptor."""
    return _syscall(_NR_OPEN_TREE, dirfd, _path(path), ctypes.c_uint(flags | OPEN_TREE_CLOEXEC), path=path)


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2) of the mount at one descriptor onto the place at another."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _syscall(_NR_MOVE_MOUNT, from_fd, b"", to_fd, b"", ctypes.c_uint(flags))


def mount_setattr(fd: int, set_: int, flags: int = 0, userns_fd: int = 0, propagation: int = 0) -> None:
    """mount_setattr(2) on the mount at *fd*: *set_* is a mask of MOUNT_ATTR_*, *propagation* one of MS_PRIVATE, …"""
    attributes = struct.pack("=4Q", set_, 0, propagation, userns_fd)
    _syscall(
        _NR_MOUNT_SETATTR,
        fd,
        b"",
        ctypes.c_uint(AT_EMPTY_PATH | flags),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def fsmount(fstype: str, options: dict[str, str | None], attributes: int = 0) -> int:
    """fsopen(2), fsconfig(2) for each option (None: a flag), fsmount(2): a detached mount's descriptor."""
    context = _syscall(_NR_FSOPEN, fstype.encode(), ctypes.c_uint(_FSOPEN_CLOEXEC), path=fstype)
    try:
        for key, value in options.items():
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            setting = None if value is None else os.fsencode(value)
            _syscall(_NR_FSCONFIG, context, ctypes.c_uint(command), key.encode(), setting, 0, path=key)
        _syscall(_NR_FSCONFIG, context, ctypes.c_uint(_FSCONFIG_CMD_CREATE), None, None, 0, path=fstype)
        return _syscall(
            _NR_FSMOUNT,
            context,
            ctypes.c_uint(_FSMOUNT_CLOEXEC),
            ctypes.c_uint(attributes),
            path=fstype,
        )
    finally:
        os.close(context)


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): opens *path* seen from *dirfd* under the RESOLVE_* restrictions. Returns a descriptor.

    A rename anywhere on the machine while ``..`` is resolved makes the kernel refuse (EAGAIN): it is asked again.
    """
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    attempts = _ATTEMPTS
    while True:
        try:
            return _syscall(_NR_OPENAT2, dirfd, _path(path), how, ctypes.c_size_t(len(how)), path=path)
        except BlockingIOError:
            attempts -= 1
            if not attempts:
                raise


def prctl(option: int, argument: int = 0) -> int:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    return _result(_libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the calling thread; each argument is a mask with bit *n* for capability number *n*."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    halves = [
        struct.pack("=3I", *(mask >> shift & 0xFFFFFFFF for mask in (effective, permitted, inheritable)))
        for shift in (0, 32)
    ]
    _syscall(_NR_OLD["capset"], header, b"".join(halves))


def seccomp_set_filter(program: bytes) -> None:
    """seccomp(2) SECCOMP_SET_MODE_FILTER with a compiled BPF program (8 bytes an instruction)."""
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    _syscall(_NR_OLD["seccomp"], ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(0), filter_)


def join_session_keyring() -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a fresh anonymous session keyring."""
    _syscall(_NR_OLD["keyctl"], _KEYCTL_JOIN_SESSION_KEYRING, None)


def rt_sigaction_default(number: int) -> None:
    """rt_sigaction(2) to SIG_DFL, also for the two signals that the C library keeps for itself (nptl(7))."""
    action = bytes(32)
    _syscall(_NR_OLD["rt_sigaction"], number, action, None, ctypes.c_size_t(8))


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2); with CLOSE_RANGE_CLOEXEC in *flags* the descriptors stay open until execve(2)."""
    _syscall(_NR_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags))
