"""Options and an image's configuration → the runtime ``Spec`` of a container, with Docker's defaults.

Everything that depends on the host or on the container's files arrives as a value (``Host``, ``Identity``).
"""

from __future__ import annotations

import functools

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import capabilities, idmap, runtime, seccomp
from kernel_sandbox.spec.changes import merged_env
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.options import Bind, ContainerOptions, Network
from kernel_sandbox.spec.user import Identity

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHM_SIZE = 64 * 1024 * 1024
_TTY_GROUP = 5
_LAST_GROUP_IN_PING_RANGE = 2**31 - 1

MASKED_PATHS = (
    *(
        f"/proc/{name}"
        for name in (
            "asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats",
            "sched_debug", "scsi",
        )
    ),
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))


class Host(msgspec.Struct, frozen=True):
    """What a container's plan needs to know of the machine and the caller."""

    uid_map: idmap.IdMap
    gid_map: idmap.IdMap
    machine: str
    kernel: str
    cpus: int
    environment_files: tuple[Bind, ...]
    """The container's own hosts, hostname and resolv.conf, to be seen in its /etc."""


def command(options: ContainerOptions, image: ContainerConfig) -> tuple[str, ...]:
    """Entrypoint and command as Docker joins them: a new entrypoint drops the image's command."""
    kept = options.entrypoint is None
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    joined = (*entrypoint, *(options.command or (image.cmd if kept else ())))
    if not joined:
        raise UsageError("No command specified: name one after the image")
    return joined


def environment(
    options: ContainerOptions, image: ContainerConfig, hostname: str, identity: Identity
) -> tuple[str, ...]:
    """PATH, HOSTNAME, the image's variables, the user's own, and HOME unless any of them sets it."""
    asked = merged_env(image.env, options.env)
    merged = merged_env((DEFAULT_PATH, f"HOSTNAME={hostname}"), asked)
    complete = merged_env((*merged, f"HOME={identity.home}"), asked)
    return tuple(entry for entry in complete if not entry.startswith("="))


def hostname(container_id: str, options: ContainerOptions) -> str:
    """The name that was asked for, or the short id; the machine's own is the caller's for ``--network host``."""
    return options.hostname or container_id[:12]


def make(
    container_id: str,
    options: ContainerOptions,
    image: ContainerConfig,
    identity: Identity,
    host: Host,
) -> runtime.Spec:
    """The container's config.json. Raises UsageError for ids that do not exist inside and bad capabilities."""
    _check_ids(identity, host)
    name = hostname(container_id, options)
    granted = capabilities.resolve(options.cap_add, options.cap_drop)
    return runtime.Spec(
        oci_version=runtime.VERSION,
        process=runtime.Process(
            user=runtime.User(identity.uid, identity.gid, _mapped(identity.additional_gids, host.gid_map)),
            args=command(options, image),
            env=environment(options, image, name, identity),
            cwd=options.workdir or image.working_dir or "/",
            capabilities=_capability_sets(granted, identity.uid),
            no_new_privileges=options.no_new_privileges,
        ),
        root=runtime.Root("rootfs", options.readonly),
        hostname=name,
        mounts=_mounts(options, host),
        linux=runtime.Linux(
            namespaces=_namespaces(options),
            uid_mappings=host.uid_map,
            gid_mappings=host.gid_map,
            cgroups_path=f"kernel-sandbox/{container_id}",
            resources=_resources(options),
            seccomp=_seccomp(options, granted, host),
            sysctl=_sysctl(options, host),
            masked_paths=(*MASKED_PATHS, *_thermal_paths(host.cpus)),
            readonly_paths=READONLY_PATHS,
        ),
    )


def _thermal_paths(cpus: int) -> tuple[str, ...]:
    """Each processor's thermal counters, a side channel."""
    return tuple(f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(cpus))


def _check_ids(identity: Identity, host: Host) -> None:
    for kind, number, map_ in (("user", identity.uid, host.uid_map), ("group", identity.gid, host.gid_map)):
        if not idmap.maps(map_, number):
            raise UsageError(
                f"{kind} {number} does not exist in this container, which has {kind} ids 0 to {idmap.last(map_)}: "
                f"ask for subordinate ids in /etc/sub{kind[0]}id (man 5 subuid)"
            )


def _mapped(gids: tuple[int, ...], map_: idmap.IdMap) -> tuple[int, ...]:
    return tuple(gid for gid in gids if idmap.maps(map_, gid))


def _capability_sets(granted: tuple[str, ...], uid: int) -> runtime.Capabilities:
    """Nothing is inheritable or ambient, and only root starts with any."""
    held = granted if uid == 0 else ()
    return runtime.Capabilities(bounding=granted, effective=held, permitted=held)


def _namespaces(options: ContainerOptions) -> tuple[runtime.Namespace, ...]:
    shared = {"network"} if options.network is Network.HOST else set()
    types = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")
    return tuple(runtime.Namespace(type_) for type_ in types if type_ not in shared)


def _resources(options: ContainerOptions) -> runtime.Resources | None:
    resources = runtime.Resources(
        memory=runtime.Memory(options.limits.memory) if options.limits.memory else None,
        pids=runtime.Pids(options.limits.pids) if options.limits.pids else None,
    )
    return resources if resources else None


def _seccomp(options: ContainerOptions, granted: tuple[str, ...], host: Host) -> seccomp.LinuxSeccomp | None:
    if options.seccomp_unconfined:
        return None
    if options.seccomp:
        return seccomp.resolve(options.seccomp, granted, host.machine, host.kernel)
    return default_filter(granted, host.machine, host.kernel)


@functools.cache
def default_filter(granted: tuple[str, ...], machine: str, kernel: str) -> seccomp.LinuxSeccomp:
    """The system calls that a container with these capabilities may make, unless it was given a profile."""
    return seccomp.resolve(seccomp.default_profile(), granted, machine, kernel)


def _sysctl(options: ContainerOptions, host: Host) -> dict[str, str]:
    if options.network is Network.HOST:
        return {}
    last = min(idmap.last(host.gid_map), _LAST_GROUP_IN_PING_RANGE)
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"}


def _mounts(options: ContainerOptions, host: Host) -> tuple[runtime.Mount, ...]:
    asked = {bind.target for bind in options.binds}
    usual = (bind for bind in host.environment_files if bind.target not in asked)
    binds = sorted((*usual, *options.binds), key=lambda bind: bind.target.count("/"))
    return (*_kernel_filesystems(options, host), *map(_bind, binds))


def _kernel_filesystems(options: ContainerOptions, host: Host) -> tuple[runtime.Mount, ...]:
    plain = ("nosuid", "noexec", "nodev")
    tty_group = (f"gid={_TTY_GROUP}",) if idmap.maps(host.gid_map, _TTY_GROUP) else ()
    sys = (
        runtime.Mount("/sys", "none", "/sys", ("rbind", *plain, "ro"))
        if options.network is Network.HOST
        else runtime.Mount("/sys", "sysfs", "sysfs", (*plain, "ro"))
    )
    return (
        runtime.Mount("/proc", "proc", "proc", plain),
        runtime.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        runtime.Mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group),
        ),
        sys,
        runtime.Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*plain, "ro")),
        runtime.Mount("/dev/mqueue", "mqueue", "mqueue", plain),
        runtime.Mount("/dev/shm", "tmpfs", "shm", (*plain, "mode=1777", f"size={_SHM_SIZE}")),
    )


def _bind(bind: Bind) -> runtime.Mount:
    mode = "ro" if bind.readonly else "rw"
    return runtime.Mount(bind.target, "none", bind.source, ("rbind", mode, "rprivate", "nodev"))
