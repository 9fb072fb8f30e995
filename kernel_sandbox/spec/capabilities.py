"""Linux capabilities: names, numbers, masks, and what `--cap-add` and `--cap-drop` leave.

Pure values after capabilities(7) and linux/capability.h. Setting them on a process is the runtime's work.
"""

from collections.abc import Iterable

from kernel_sandbox.errors import UsageError

_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
"""

_DEFAULT_NAMES = """
    CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
    AUDIT_WRITE SETFCAP
"""

ALL = tuple(f"CAP_{name}" for name in _NAMES.split())
"""Every capability, in the kernel's order."""

NUMBERS = {name: number for number, name in enumerate(ALL)}

DEFAULT = tuple(f"CAP_{name}" for name in _DEFAULT_NAMES.split())
"""What Docker gives a container when nothing is asked for."""


def resolve(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[str, ...]:
    """The capabilities of a container, in the kernel's order.

    Docker's rules: case and the prefix ``CAP_`` do not matter; adding ``ALL`` gives all but the dropped ones;
    dropping ``ALL`` leaves the added ones; else the default ones are dropped first and added to afterwards.

    Raises UsageError for a name no kernel knows.
    """
    added, dropped = frozenset(normalized(add, "CapAdd")), frozenset(normalized(drop, "CapDrop"))
    if "ALL" in added:
        return tuple(name for name in ALL if name not in dropped)
    kept = frozenset() if "ALL" in dropped else frozenset(DEFAULT) - dropped
    return tuple(name for name in ALL if name in kept | added)


def normalized(names: Iterable[str], option: str) -> tuple[str, ...]:
    """The names in full, as the kernel has them; ``ALL`` stays. Raises UsageError, naming the *option*."""
    return tuple(_normalize_one(name, option) for name in names)


def _normalize_one(name: str, option: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in NUMBERS:
        raise UsageError(f'invalid {option}: unknown capability: "{full}"')
    return full


def mask(names: Iterable[str]) -> int:
    """The names as the bit mask that capset(2) takes and /proc/PID/status shows."""
    return sum(1 << NUMBERS[name] for name in frozenset(names))


def names(mask: int) -> tuple[str, ...]:
    """The names whose bits are set in a mask; bits of capabilities newer than this table are left out."""
    return tuple(name for name, number in NUMBERS.items() if mask >> number & 1)
