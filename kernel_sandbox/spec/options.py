"""What a user asks of a container: the values behind Docker's ``create`` and ``run`` flags.

Front ends make a ``ContainerOptions``; the engine stores it with the container and turns it into a bundle at each
start (``spec.bundle``). Reading flags' text is here, reading the command line is not.
"""

from __future__ import annotations

import posixpath
import re
import signal
from enum import StrEnum

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.seccomp import Profile
from kernel_sandbox.spec.units import is_number

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Network(StrEnum):
    """``--network``: ``none`` has loopback alone, ``host`` shares the host's interfaces."""

    NONE = "none"
    HOST = "host"


class Bind(msgspec.Struct, frozen=True):
    """``-v source:target[:ro]``: a host directory or file, seen at *target* inside."""

    source: str
    target: str
    readonly: bool = False


class ContainerOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container to be made. Empty means: as the image says, or Docker's default.

    ``memory`` is in bytes, ``pids_limit`` a count; None is no limit. ``entrypoint`` is None for the image's own and
    an empty tuple for none. ``seccomp`` is None for the default profile.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] | None = None
    hostname: str = ""
    labels: dict[str, str] = {}
    interactive: bool = False
    remove: bool = False
    readonly: bool = False
    memory: int | None = None
    pids_limit: int | None = None
    network: Network = Network.NONE
    binds: tuple[Bind, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: Profile | None = None
    seccomp_unconfined: bool = False
    stop_signal: str = ""


def checked_name(name: str) -> str:
    """A container's name as Docker allows it. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name


def checked_hostname(name: str) -> str:
    """A host name that the kernel takes: at most 64 bytes (sethostname(2)). Raises UsageError."""
    if len(name.encode()) > 64 or not name.isprintable():
        raise UsageError(f"invalid hostname format: {name}")
    return name


def parse_network(text: str) -> Network:
    """``--network``'s value. Raises UsageError."""
    try:
        return Network(text)
    except ValueError:
        raise UsageError(f"network {text} not found: use --network none or --network host") from None


def parse_bind(text: str) -> Bind:
    """``-v``'s value, ``/host:/container[:ro|rw]``. Raises UsageError."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not target or mode not in ("", "ro", "rw"):
        raise UsageError(f"invalid volume specification: '{text}': write /host/path:/container/path[:ro]")
    if not source.startswith("/"):
        raise UsageError(f"invalid volume specification: '{text}': the host path must be absolute")
    target = posixpath.normpath(target).replace("//", "/")
    if not target.startswith("/") or target == "/":
        raise UsageError(f"invalid volume specification: '{text}': the container path must be absolute and not '/'")
    return Bind(source, target, mode == "ro")


def parse_signal(text: str) -> int:
    """A signal by name, with or without SIG, or by number (signal(7)). Raises UsageError."""
    name = "SIG" + text.upper().removeprefix("SIG")
    number = int(text) if is_number(text) else int(signal.Signals.__members__.get(name, 0))
    if not 0 < number < signal.NSIG:
        raise UsageError(f"Invalid signal: {text}")
    return number


def parse_label(text: str) -> tuple[str, str]:
    """``-l``'s value, ``key[=value]``. Raises UsageError."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise UsageError(f"invalid label format: '{text}': write key=value")
    return key, value


def parse_env(text: str, own: dict[str, str]) -> str | None:
    """``-e``'s value: ``NAME=value``, or ``NAME`` taken from *own* (None where it is not set there)."""
    name, equals, _ = text.partition("=")
    if not name:
        raise UsageError(f"invalid environment variable: {text}")
    if equals:
        return text
    return f"{name}={own[name]}" if name in own else None
