"""Flags that share namespaces: ``--pid host``, ``--ipc container:NAME`` → values, and which of them exclude another.

Docker takes ``container:NAME`` for pid, ipc and network alone, and ``private`` for ipc and cgroupns; here all of them
take both. Not here: finding the containers, joining them.
"""

from __future__ import annotations

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.kernel_flags import namespace_of
from kernel_sandbox.spec.options import CONTAINER, HOST, ContainerOptions, Network

_PRIVATE = "private"
SHAREABLE, NONE = "shareable", "none"
_COMPLAINTS = {
    "user": "--userns: invalid USER mode",
    "pid": "--pid: invalid PID mode",
    "uts": "--uts: invalid UTS mode",
    "cgroup": "--cgroupns: invalid CGROUP mode",
}


def parse(type_: str, text: str) -> str:
    """The value of ``--userns``, ``--pid``, ``--uts`` or ``--cgroupns``: "" for one of the container's own."""
    if text in ("", _PRIVATE):
        return ""
    if text == HOST or (text.startswith(CONTAINER) and text != CONTAINER):
        return text
    raise UsageError(_COMPLAINTS[type_])


def parse_ipc(text: str) -> str:
    """``--ipc``'s value."""
    if text in ("", _PRIVATE):
        return ""
    if text in (HOST, SHAREABLE, NONE) or (text.startswith(CONTAINER) and text != CONTAINER):
        return text
    raise UsageError(f"Invalid IPC mode: {text}")


def parse_network(text: str) -> tuple[Network, str]:
    """``--network``'s value: the network, and the container that it is shared with, if any."""
    if text.startswith(CONTAINER) and text != CONTAINER:
        return Network.NONE, text
    try:
        return Network(text), ""
    except ValueError:
        raise UsageError(
            f"network {text} not found: use --network none, --network host or --network container:NAME"
        ) from None


def is_shareable(ipc: str) -> bool:
    """Whether a container with this mode lets another one join."""
    return ipc in (SHAREABLE, HOST) or ipc.startswith(CONTAINER)


def check(options: ContainerOptions) -> None:
    """Refuse names and settings for a namespace that is not the container's own. Raises UsageError."""
    sharing = options.sharing
    if options.hostname and sharing.uts:
        raise UsageError("conflicting options: hostname and the UTS mode")
    if options.domainname and sharing.uts:
        raise UsageError("conflicting options: domainname and the UTS mode")
    if options.hostname and sharing.network:
        raise UsageError("conflicting options: hostname and the network mode")
    for name in options.sysctls:
        _check_sysctl(name, options)


def _check_sysctl(name: str, options: ContainerOptions) -> None:
    if namespace_of(name) == "network":
        if options.network is Network.HOST:
            raise UsageError(f'sysctl "{name}" not allowed in host network namespace')
        if options.sharing.network:
            raise UsageError(f'sysctl "{name}" not allowed in another container\'s network namespace')
    elif options.sharing.ipc == HOST:
        raise UsageError(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    elif options.sharing.ipc.startswith(CONTAINER):
        raise UsageError(f'sysctl "{name}" is not allowed in another container\'s ipc namespace')
