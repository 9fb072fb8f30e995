"""Options and an image's configuration → the runtime ``Spec`` of a container, with Docker's defaults.

Everything that depends on the host or on the container's files arrives as a value (``Host``, ``Identity``).
"""

from __future__ import annotations

import functools

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import capabilities, idmap, runtime, seccomp
from kernel_sandbox.spec.command_line import command_line
from kernel_sandbox.spec.environment import merged_env
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.kernel_flags import ULIMITS
from kernel_sandbox.spec.options import CONTAINER, HOST, Bind, ContainerOptions, Network, Tmpfs
from kernel_sandbox.spec.resources import resources
from kernel_sandbox.spec.sharing import NONE
from kernel_sandbox.spec.user import Identity

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_SIZE = 64 * 1024 * 1024
_TTY_GROUP = 5
_LAST_GROUP_IN_PING_RANGE = 2**31 - 1
_INFINITY = 2**64 - 1
_NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")
_FILES = {"mount": "mnt", "network": "net"}
_REPLACEABLE = {"/dev/shm", "/dev/mqueue"}
_PLAIN = ("nosuid", "noexec", "nodev")
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_OPPOSITES = {"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"}

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
    hostname: str = ""
    """The machine's own."""
    joined: dict[str, int] = {}
    """The first process of each container whose namespaces are shared, by that container's id."""
    devices: tuple[Bind, ...] = ()
    """The devices that are asked for, each of them a file."""
    has_message_queues: bool = False
    """Whether the machine shows POSIX message queues in /dev/mqueue."""


def environment(
    options: ContainerOptions, image: ContainerConfig, hostname: str, identity: Identity
) -> tuple[str, ...]:
    """PATH, HOSTNAME, a terminal's TERM, the image's variables, the user's own, and HOME unless any of them sets it."""
    asked = merged_env(image.env, options.env)
    own = (DEFAULT_PATH, f"HOSTNAME={hostname}", *(("TERM=xterm",) if options.tty else ()))
    complete = merged_env((*merged_env(own, asked), f"HOME={identity.home}"), asked)
    return tuple(entry for entry in complete if not entry.startswith("="))


def hostname(container_id: str, options: ContainerOptions, own: str = "") -> str:
    """The name that was asked for, or the short id; where names or the network are shared, their owner's *own*."""
    if options.sharing.uts == HOST or options.network is Network.HOST or options.sharing.network:
        return options.hostname or own or container_id[:12]
    return options.hostname or container_id[:12]


def make(
    container_id: str,
    options: ContainerOptions,
    image: ContainerConfig,
    identity: Identity,
    host: Host,
) -> runtime.Spec:
    """The container's config.json. Raises UsageError for ids that do not exist inside and bad capabilities."""
    check_ids(identity, host.uid_map, host.gid_map)
    name = hostname(container_id, options, host.hostname)
    granted = granted_capabilities(options)
    unconfined = options.privileged or options.systempaths_unconfined
    return runtime.Spec(
        oci_version=runtime.VERSION,
        process=runtime.Process(
            user=runtime.User(identity.uid, identity.gid, _mapped(identity.additional_gids, host.gid_map)),
            args=command_line(options, image),
            env=environment(options, image, name, identity),
            cwd=options.workdir or image.working_dir or "/",
            capabilities=_capability_sets(granted, identity.uid),
            terminal=options.tty,
            no_new_privileges=options.no_new_privileges,
            rlimits=_rlimits(options),
            oom_score_adj=options.oom_score_adj,
        ),
        root=runtime.Root("rootfs", options.readonly),
        hostname=name,
        domainname=options.domainname,
        mounts=_mounts(options, host),
        linux=runtime.Linux(
            namespaces=_namespaces(options, host),
            uid_mappings=host.uid_map,
            gid_mappings=host.gid_map,
            cgroups_path=f"kernel-sandbox/{container_id}",
            resources=resources(options.limits),
            seccomp=_seccomp(options, granted, host),
            sysctl=_sysctl(options, host),
            masked_paths=() if unconfined else (*MASKED_PATHS, *_thermal_paths(host.cpus)),
            readonly_paths=() if unconfined else READONLY_PATHS,
        ),
    )


def granted_capabilities(options: ContainerOptions) -> tuple[str, ...]:
    """The capabilities of the container's root: all of them where privileged."""
    return capabilities.ALL if options.privileged else capabilities.resolve(options.cap_add, options.cap_drop)


def _rlimits(options: ContainerOptions) -> tuple[runtime.Rlimit, ...]:
    """One for each name, the last that was written; -1 is no limit."""
    last = {limit.name: limit for limit in options.ulimits}
    return tuple(
        runtime.Rlimit(ULIMITS[name], *(_INFINITY if number < 0 else number for number in (limit.hard, limit.soft)))
        for name, limit in sorted(last.items())
    )


def _thermal_paths(cpus: int) -> tuple[str, ...]:
    """Each processor's thermal counters, a side channel."""
    return tuple(f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(cpus))


def check_ids(identity: Identity, uid_map: idmap.IdMap, gid_map: idmap.IdMap) -> None:
    """Raises UsageError for an id that does not exist inside."""
    groups = ((("group", gid, gid_map)) for gid in (identity.gid, *identity.added_gids))
    for kind, number, map_ in (("user", identity.uid, uid_map), *groups):
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


def _namespaces(options: ContainerOptions, host: Host) -> tuple[runtime.Namespace, ...]:
    """Its own, but for the host's, which are left out, and another container's, which come with its user namespace."""
    joined = {type_: host.joined.get(id_, 0) for type_, id_ in options.sharing.of_containers().items()}
    if joined:
        joined.setdefault("user", next(iter(joined.values())))
    shared = {type_ for type_ in ("pid", "ipc", "uts", "cgroup") if getattr(options.sharing, type_) == HOST}
    if options.network is Network.HOST:
        shared.add("network")
    return tuple(
        runtime.Namespace(type_, f"/proc/{joined[type_]}/ns/{_FILES.get(type_, type_)}" if type_ in joined else "")
        for type_ in _NAMESPACES
        if type_ not in shared
    )


def _seccomp(options: ContainerOptions, granted: tuple[str, ...], host: Host) -> seccomp.LinuxSeccomp | None:
    if options.seccomp_unconfined:
        return None
    if options.seccomp:
        return seccomp.resolve(options.seccomp, granted, host.machine, host.kernel)
    if options.privileged:
        return None
    return default_filter(granted, host.machine, host.kernel)


@functools.cache
def default_filter(granted: tuple[str, ...], machine: str, kernel: str) -> seccomp.LinuxSeccomp:
    """The system calls that a container with these capabilities may make, unless it was given a profile."""
    return seccomp.resolve(seccomp.default_profile(), granted, machine, kernel)


def _sysctl(options: ContainerOptions, host: Host) -> dict[str, str]:
    if options.network is Network.HOST or options.sharing.network:
        return options.sysctls
    last = min(idmap.last(host.gid_map), _LAST_GROUP_IN_PING_RANGE)
    usual = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {last}"}
    return {**usual, **options.sysctls}


def _mounts(options: ContainerOptions, host: Host) -> tuple[runtime.Mount, ...]:
    """The kernel's filesystems first, then the user's own, what is above before what is below."""
    asked = {*(bind.target for bind in options.binds), *(tmpfs.target for tmpfs in options.tmpfs)}
    usual = (bind for bind in host.environment_files if bind.target not in asked)
    own = [*map(_bind, (*usual, *options.binds)), *map(_tmpfs, options.tmpfs), *map(_device, host.devices)]
    own.sort(key=lambda mount: mount.destination.count("/"))
    kernels = (mount for mount in _kernel_filesystems(options, host) if mount.destination not in asked & _REPLACEABLE)
    return (*kernels, *own)


def _kernel_filesystems(options: ContainerOptions, host: Host) -> tuple[runtime.Mount, ...]:
    """What cannot be made afresh, since the host's namespace is shared, is the host's own."""
    tty_group = (f"gid={_TTY_GROUP}",) if idmap.maps(host.gid_map, _TTY_GROUP) else ()
    protected = (*_PLAIN, "rw" if options.privileged else "ro")
    sharing = options.sharing
    fresh = {
        "/proc": runtime.Mount("/proc", "proc", "proc", _PLAIN),
        "/sys": runtime.Mount("/sys", "sysfs", "sysfs", protected),
        "/sys/fs/cgroup": runtime.Mount("/sys/fs/cgroup", "cgroup", "cgroup", protected),
    }
    shared = {
        "/proc": sharing.pid == HOST,
        "/sys": options.network is Network.HOST,
        "/sys/fs/cgroup": sharing.cgroup == HOST,
    }
    proc, sys, cgroup = (
        runtime.Mount(path, mount.type, path, ("rbind", *(_PLAIN if path == "/proc" else protected)))
        if shared[path]
        else mount
        for path, mount in fresh.items()
    )
    return (
        proc,
        runtime.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        runtime.Mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group),
        ),
        sys,
        cgroup,
        *_ipc_filesystems(options, host),
    )


def _ipc_filesystems(options: ContainerOptions, host: Host) -> tuple[runtime.Mount, ...]:
    """POSIX message queues and shared memory, which belong together with System V's."""
    mode = options.sharing.ipc
    size = options.shm_size or SHM_SIZE
    queues = runtime.Mount("/dev/mqueue", "mqueue", "mqueue", _PLAIN)
    memory = runtime.Mount("/dev/shm", "tmpfs", "shm", (*_PLAIN, "mode=1777", f"size={size}"))
    if mode == NONE:
        return (queues,)
    if mode == HOST:
        paths = ("/dev/mqueue", "/dev/shm") if host.has_message_queues else ("/dev/shm",)
        return tuple(runtime.Mount(path, "none", path, ("rbind", *_PLAIN)) for path in paths)
    if mode.startswith(CONTAINER):
        donor = host.joined.get(mode.removeprefix(CONTAINER), 0)
        return queues, runtime.Mount("/dev/shm", "tmpfs", f"/proc/{donor}/root/dev/shm", ("rbind", *_PLAIN))
    return queues, memory


def _bind(bind: Bind) -> runtime.Mount:
    mode = "ro" if bind.readonly else "rw"
    return runtime.Mount(bind.target, "none", bind.source, ("rbind", mode, bind.propagation or "rprivate", "nodev"))


def _device(device: Bind) -> runtime.Mount:
    return runtime.Mount(device.target, "none", device.source, ("bind", "rprivate", "nosuid", "noexec"))


def _tmpfs(tmpfs: Tmpfs) -> runtime.Mount:
    """As Docker mounts it: without programs, setuid bits and devices, unless asked for."""
    undone = {_OPPOSITES[option] for option in tmpfs.options if option in _OPPOSITES}
    defaults = (option for option in _TMPFS_DEFAULTS if option not in undone)
    own = (option for option in tmpfs.options if option not in _OPPOSITES and option not in undone)
    return runtime.Mount(tmpfs.target, "tmpfs", "tmpfs", tuple(dict.fromkeys((*defaults, *own))))
