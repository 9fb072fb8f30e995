"""``info`` and ``version``: what this store holds and what this machine offers its containers, in Docker's words."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from base64 import b32encode
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox import __version__
from kernel_sandbox.engine.inspect import STORAGE_DRIVER
from kernel_sandbox.runtime import cgroups, ids, systemd
from kernel_sandbox.spec.host_config import RUNTIME
from kernel_sandbox.spec.image import platform_of_machine
from kernel_sandbox.storage.state import Status

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

API_VERSION = "1.41"
_PYTHON = platform.python_version()
_NO_DRIVER, _CGROUPFS, _SYSTEMD = "none", "cgroupfs", "systemd"


class Plugins(msgspec.Struct, frozen=True, rename="pascal"):
    volume: tuple[str, ...] = ("local",)
    network: tuple[str, ...] = ("host", "null")
    log: tuple[str, ...] = ("json-file", "none")


class Info(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``GET /info``, as far as it says something here. ``id_mapping`` is ours: whose ids containers have."""

    id: str = msgspec.field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str = STORAGE_DRIVER
    driver_status: tuple[tuple[str, str], ...]
    plugins: Plugins = Plugins()
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool = msgspec.field(name="CPUShares")
    cpu_set: bool = msgspec.field(name="CPUSet")
    pids_limit: bool
    oom_kill_disable: bool = False
    debug: bool = False
    logging_driver: str = "json-file"
    cgroup_driver: str
    cgroup_version: str
    kernel_version: str
    operating_system: str
    os_version: str = msgspec.field(name="OSVersion")
    os_type: str = msgspec.field(name="OSType", default="linux")
    architecture: str
    ncpu: int = msgspec.field(name="NCPU")
    mem_total: int
    docker_root_dir: str
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    name: str
    labels: tuple[str, ...] = ()
    experimental_build: bool = False
    server_version: str = __version__
    runtimes: Mapping[str, Mapping[str, str]]
    default_runtime: str = RUNTIME
    live_restore_enabled: bool = True
    isolation: str = ""
    init_binary: str = RUNTIME
    security_options: tuple[str, ...]
    warnings: tuple[str, ...]
    id_mapping: str = msgspec.field(name="IDMapping")


def info(engine: Engine) -> Info:
    """The store and the machine as they are."""
    states = [each.status for each in engine.containers.list(all_=True)]
    running = states.count(Status.RUNNING) + states.count(Status.RESTARTING)
    paused = states.count(Status.PAUSED)
    usable = _controllers()
    release = _os_release()
    return Info(
        id=_identity(engine.paths.home),
        containers=len(states),
        containers_running=running,
        containers_paused=paused,
        containers_stopped=len(states) - running - paused,
        images=len(engine.images.list()),
        driver_status=(("Backing Filesystem", _filesystem(engine.paths.home)), ("userxattr", "true")),
        memory_limit="memory" in usable,
        swap_limit="memory" in usable and _limits_swap(),
        cpu_cfs_period="cpu" in usable,
        cpu_cfs_quota="cpu" in usable,
        cpu_shares="cpu" in usable,
        cpu_set="cpuset" in usable,
        pids_limit="pids" in usable,
        cgroup_driver=_cgroup_driver(usable),
        cgroup_version="1" if cgroups.hierarchies().v1 else "2",
        kernel_version=os.uname().release,
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        architecture=os.uname().machine,
        ncpu=os.cpu_count() or 1,
        mem_total=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        docker_root_dir=engine.paths.home,
        name=os.uname().nodename,
        runtimes={RUNTIME: {"path": sys.executable}},
        security_options=_security_options(),
        warnings=_warnings(usable),
        id_mapping=_id_mapping(),
    )


def _controllers() -> frozenset[str]:
    """The control groups' controllers with which the caller can limit a container."""
    where = cgroups.hierarchies()
    if ids.is_privileged():
        return frozenset(where.v1) | where.unified_controllers
    if where.unified and (systemd.is_reachable() or _is_delegated(where.unified)):
        return where.unified_controllers
    return frozenset()


def _is_delegated(unified: str) -> bool:
    """Whether the caller may make groups below its own (cgroups(7), "Cgroups v2 delegation")."""
    with open("/proc/self/cgroup") as file:
        own = next((line[3:].strip() for line in file if line.startswith("0::")), "")
    return os.access(f"{unified}{own}", os.W_OK)


def _limits_swap() -> bool:
    memory = cgroups.hierarchies().v1.get("memory")
    return memory is None or os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")


def _cgroup_driver(usable: frozenset[str]) -> str:
    if not usable:
        return _NO_DRIVER
    return _CGROUPFS if ids.is_privileged() or not systemd.is_reachable() else _SYSTEMD


def _security_options() -> tuple[str, ...]:
    rootless = () if ids.is_privileged() else ("name=rootless",)
    return ("name=seccomp,profile=default", *rootless, "name=userns", "name=cgroupns")


def _warnings(usable: frozenset[str]) -> tuple[str, ...]:
    if not usable:
        return (
            "WARNING: No control groups for this user: containers cannot be limited. "
            "Log in with systemd and cgroup v2, or use root's engine",
        )
    wanted = {"memory": "memory limit", "cpu": "cpu cfs quota", "cpuset": "cpuset", "pids": "pids limit"}
    missing = [name for controller, name in wanted.items() if controller not in usable]
    swap = ["swap limit"] if "memory" in usable and not _limits_swap() else []
    return tuple(f"WARNING: No {name} support" for name in (*missing, *swap))


def _id_mapping() -> str:
    if ids.is_privileged():
        return "a range of its own for each container"
    size = sum(extent.size for extent in ids.store_maps().uid)
    return "a single id" if size == 1 else f"{size} ids, the same for all containers"


def _identity(home: str) -> str:
    """A name for the store that stays, in the form of Docker's."""
    text = b32encode(hashlib.sha256(os.fsencode(os.path.realpath(home))).digest()).decode()[:48]
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def _filesystem(path: str) -> str:
    """The type of filesystem that *path* is on (proc_pid_mountinfo(5))."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0]
    return "unknown"


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


class Component(msgspec.Struct, frozen=True, rename="pascal"):
    """A program that is part of the engine."""

    name: str
    version: str
    details: Mapping[str, str]


class PlatformName(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = "kernel-sandbox"


class ClientVersion(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The program that is asked."""

    version: str = __version__
    api_version: str = API_VERSION
    default_api_version: str = msgspec.field(name="DefaultAPIVersion", default=API_VERSION)
    git_commit: str = ""
    python_version: str = _PYTHON
    os: str = sys.platform
    arch: str
    build_time: str = ""
    context: str = "default"


class ServerVersion(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The engine: the same program, since there is no daemon."""

    platform: PlatformName = PlatformName()
    components: tuple[Component, ...]
    version: str = __version__
    api_version: str = API_VERSION
    min_api_version: str = msgspec.field(name="MinAPIVersion", default=API_VERSION)
    git_commit: str = ""
    python_version: str = _PYTHON
    os: str = sys.platform
    arch: str
    kernel_version: str
    build_time: str = ""


class Version(msgspec.Struct, frozen=True, rename="pascal"):
    client: ClientVersion
    server: ServerVersion


def version() -> Version:
    """This program's version, twice, as clients of Docker expect it."""
    arch = platform_of_machine(os.uname().machine).architecture
    kernel = os.uname().release
    details = {"ApiVersion": API_VERSION, "Arch": arch, "KernelVersion": kernel, "Os": sys.platform}
    component = Component("Engine", __version__, details)
    return Version(ClientVersion(arch=arch), ServerVersion(components=(component,), arch=arch, kernel_version=kernel))
