"""What a user asks of a container: the values behind Docker's ``create`` and ``run`` flags.

Front ends make a ``ContainerOptions``; the engine stores it with the container and turns it into a bundle at each
start (``spec.bundle``). Reading the text of flags is ``spec.flags``'s, ``spec.mount_flags``'s and their like.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.seccomp import Profile

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
HOST = "host"
CONTAINER = "container:"


class Network(StrEnum):
    """``--network``: ``none`` has loopback alone, ``host`` shares the host's interfaces."""

    NONE = "none"
    HOST = "host"


class Bind(msgspec.Struct, frozen=True):
    """``-v source:target[:mode]``: a host directory or file, seen at *target* inside.

    ``as_mount``: asked for with ``--mount``, which does not make a missing source. ``mode`` are the words that were
    written; ``propagation`` is one of mount_namespaces(7), empty for ``rprivate``.
    """

    source: str
    target: str
    readonly: bool = False
    as_mount: bool = False
    mode: str = ""
    propagation: str = ""


class VolumeMount(msgspec.Struct, frozen=True):
    """``-v [name:]target``: a volume of the store's, seen at *target* inside.

    An empty ``name`` asks for a volume of its own, which is named when the container is made (``anonymous``). Where
    ``copies``, an empty volume gets what the image has at *target*. ``labels`` are for a volume made on the way.
    """

    name: str
    target: str
    readonly: bool = False
    anonymous: bool = False
    copies: bool = True
    as_mount: bool = False
    mode: str = ""
    labels: dict[str, str] = {}


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
    """Which namespaces are not the container's own: each is ``""`` (private), ``host`` or ``container:ID``.

    ``ipc`` is also ``shareable`` (its own, and others may join it) or ``none`` (its own, without /dev/shm);
    ``network`` is never ``host``, which ``ContainerOptions.network`` says.
    """

    user: str = ""
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""
    network: str = ""

    def of_containers(self) -> dict[str, str]:
        """The namespaces that are another container's, by the type that the runtime specification gives them."""
        return {
            type_: shared.removeprefix(CONTAINER)
            for type_, shared in msgspec.structs.asdict(self).items()
            if shared.startswith(CONTAINER)
        }


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
    ``extra_hosts`` are ``name:address``; ``exposed`` are ports as ``80/tcp``.
    ``oom_score_adj`` is None for the caller's. ``stop_timeout`` is in seconds; ``shm_size``, ``storage_size`` and
    ``log_max_size`` in bytes, None for the default, no quota, no rotation. ``log_options`` are those that were written,
    the two limits among them. ``health`` is None for the image's own check, whose test ``NONE`` means none. ``attach``
    names the streams that ``run`` shows, empty for all; ``detached``: it shows none. ``security_options`` are those
    without a meaning on this machine, for Docker's other security modules. ``systempaths_unconfined``: nothing of /proc
    and /sys is masked or read-only.
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
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    interactive: bool = False
    tty: bool = False
    attach: tuple[str, ...] = ()
    detach_keys: str = ""
    detached: bool = False
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
    systempaths_unconfined: bool = False
    security_options: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_timeout: int | None = None
    health: Healthcheck | None = None
    log_driver: str = "json-file"
    log_options: dict[str, str] = {}
    log_max_size: int | None = None
    log_max_files: int = 1
    storage_size: int | None = None
    platform: str = ""

    @property
    def may_have_host_ids(self) -> bool:
        """Whether root inside may be root of the machine, where that is who asks."""
        return self.privileged or self.sharing.user == HOST or bool(self.sharing.of_containers())


def checked_name(name: str) -> str:
    """A container's name as Docker allows it. Raises UsageError."""
    if not re.fullmatch(_NAME, name):
        raise UsageError(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name


def checked_hostname(name: str) -> str:
    """A host name that the kernel takes: at most 64 bytes (sethostname(2)). Raises UsageError."""
    if len(name.encode()) > 64 or not name.isprintable():
        raise UsageError(f"invalid hostname format: {name}")
    return name
