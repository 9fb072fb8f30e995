"""The text of flags about the kernel → values: processors, ulimits, devices, sysctls.

Each function reads one value in Docker's grammar and raises UsageError in Docker's words. What a machine has is checked
elsewhere.
"""

from __future__ import annotations

import posixpath
import re

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.options import Device, Ulimit

ULIMITS = {
    "core": "RLIMIT_CORE", "cpu": "RLIMIT_CPU", "data": "RLIMIT_DATA", "fsize": "RLIMIT_FSIZE",
    "locks": "RLIMIT_LOCKS", "memlock": "RLIMIT_MEMLOCK", "msgqueue": "RLIMIT_MSGQUEUE", "nice": "RLIMIT_NICE",
    "nofile": "RLIMIT_NOFILE", "nproc": "RLIMIT_NPROC", "rss": "RLIMIT_RSS", "rtprio": "RLIMIT_RTPRIO",
    "rttime": "RLIMIT_RTTIME", "sigpending": "RLIMIT_SIGPENDING", "stack": "RLIMIT_STACK",
}  # fmt: skip
"""Docker's names of limits, with those of setrlimit(2)."""

_PERMISSIONS = frozenset("rwm")
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)  # fmt: skip
_SYSCTL = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+"
_MAX_NANO_CPUS = 2**63 - 1


def parse_cpus(text: str) -> int:
    """``--cpus``'s value, a decimal or a fraction, in 10^-9 processors."""
    from fractions import Fraction

    try:
        nano = Fraction(text.strip() if text.isascii() else "") * 10**9
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1 or abs(nano) > _MAX_NANO_CPUS:
        raise UsageError("value is too precise")
    return int(nano)


def parse_ulimit(text: str) -> Ulimit:
    """``--ulimit``'s value, ``name=soft[:hard]``; a negative number is no limit."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise UsageError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise UsageError(f"invalid ulimit type: {name}")
    numbers = limits.split(":")
    if len(numbers) > 2:
        raise UsageError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    soft, hard = _limit(numbers[0]), _limit(numbers[-1])
    if hard >= 0 and not 0 <= soft <= hard:
        raise UsageError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)


def _limit(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise UsageError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def parse_device(text: str) -> Device:
    """``--device``'s value, ``source[:target][:permissions]``."""
    source, *rest = text.split(":")
    if not source or len(rest) > 2:
        raise UsageError(f"bad format for path: {text}")
    target, permissions = source, "rwm"
    if len(rest) == 1 and _are_permissions(rest[0]):
        permissions = rest[0]
    elif rest:
        target = rest[0]
    if len(rest) == 2:
        permissions = rest[1]
        if not _are_permissions(permissions):
            raise UsageError(f"bad mode specified: {permissions}")
    for path in (target, source):
        if not path.startswith("/"):
            raise UsageError(f"{path} is not an absolute path")
    return Device(posixpath.normpath(source), posixpath.normpath(target), permissions)


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= _PERMISSIONS and len(set(text)) == len(text)


def parse_sysctl(text: str) -> tuple[str, str]:
    """``--sysctl``'s value, ``name=value``: only a setting that belongs to a namespace of the container's."""
    name, equals, value = text.partition("=")
    is_allowed = name in _IPC_SYSCTLS or name.startswith(("net.", "fs.mqueue."))
    if not equals or not is_allowed or not re.fullmatch(_SYSCTL, name):
        raise UsageError(f"sysctl '{text}' is not allowed")
    return name, value


def namespace_of(sysctl: str) -> str:
    """The type of the namespace that a setting belongs to."""
    return "network" if sysctl.startswith("net.") else "ipc"
