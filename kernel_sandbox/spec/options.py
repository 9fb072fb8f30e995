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
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.seccomp import Profile
from kernel_sandbox.spec.units import is_number

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Network(StrEnum):
    """``--network``: ``none`` has loopback alone, ``host`` shares the host's interfaces."""

    NONE = "none"
    HOST = "host"


class Bind(msgspec.Struct, frozen=True):
    """``-v source:target[:ro]``: a host directory or file, seen at *target* inside.

    ``as_mount``: asked for with ``--mount``, which does not make a missing source.
    """

    source: str
    target: str
    readonly: bool = False
    as_mount: bool = False


class VolumeMount(msgspec.Struct, frozen=True):
    """``-v [name:]target``: a volume of the store's, seen at *target* inside.

    An empty ``name`` asks for a volume of its own, which is named when the container is made (``anonymous``). Where
    ``copies``, an empty volume gets what the image has at *target*.
    """

    name: str
    target: str
    readonly: bool = False
    anonymous: bool = False
    copies: bool = True
    as_mount: bool = False


class Tmpfs(msgspec.Struct, frozen=True):
    """``--tmpfs target[:options]``: memory, gone when the container ends. ``options`` as mount(8) has them."""

    target: str
    options: tuple[str, ...] = ()
    as_mount: bool = False


class Device(msgspec.Struct, frozen=True):
    """``--device source[:target[:permissions]]``: a device of the host's; ``permissions`` out of ``rwm``."""

    source: str
    target: str
    permissions: str = "rwm"


class Ulimit(msgspec.Struct, frozen=True):
    """``--ulimit name=soft[:hard]``: a limit of setrlimit(2); -1 is none."""

    name: str
    soft: int
    hard: int


class RestartPolicy(msgspec.Struct, frozen=True):
    """``--restart``: ``no``, ``on-failure`` (at most so many times, 0 for ever), ``always``, ``unless-stopped``."""

    name: str = "no"
    maximum_retries: int = 0


class Sharing(msgspec.Struct, frozen=True):
    """Which namespaces are not the container's own: each is ``""`` (private), ``host`` or ``container:ID``."""

    user: str = ""
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container may use at most, and its shares: what ``update`` can change. None is no limit.

    Sizes in bytes; ``memory_swap`` is memory and swap together, -1 for no limit; ``nano_cpus`` are 10^-9 processors;
    ``cpu_period`` and ``cpu_quota`` microseconds; ``cpuset_*`` lists as ``0-2,4``.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    blkio_weight: int | None = None


class ContainerOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container to be made. Empty means: as the image says, or Docker's default.

    ``entrypoint`` is None for the image's own and an empty tuple for none. ``seccomp`` is None for the default profile.
    ``oom_score_adj`` is None for the caller's. ``stop_timeout`` is in seconds; ``shm_size``, ``storage_size`` and
    ``log_max_size`` in bytes, None for the default, no quota, no rotation. ``health`` is None for the image's own
    check, whose test ``NONE`` means none. ``attach`` names the streams that ``run`` shows, empty for all.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = {}
    interactive: bool = False
    tty: bool = False
    attach: tuple[str, ...] = ()
    detach_keys: str = ""
    remove: bool = False
    readonly: bool = False
    init: bool = False
    restart: RestartPolicy = RestartPolicy()
    limits: Limits = Limits()
    oom_score_adj: int | None = None
    shm_size: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    network: Network = Network.NONE
    sharing: Sharing = Sharing()
    binds: tuple[Bind, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    volumes_from: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    sysctls: dict[str, str] = {}
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: Profile | None = None
    seccomp_unconfined: bool = False
    stop_signal: str = ""
    stop_timeout: int | None = None
    health: Healthcheck | None = None
    log_max_size: int | None = None
    log_max_files: int = 1
    storage_size: int | None = None
    platform: str = ""


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
