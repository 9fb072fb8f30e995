"""A container's options in the words of Docker's API: ``HostConfig``, and the mounts of both kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from msgspec import UNSET

from kernel_sandbox.spec import api, bundle, capabilities, units
from kernel_sandbox.spec.options import Bind, ContainerOptions, Device, RestartPolicy, Tmpfs, VolumeMount

RUNTIME = "kernel-sandbox"


def host_config(options: ContainerOptions) -> api.HostConfig:
    """What was asked of the host."""
    limits, sharing = options.limits, options.sharing
    memory = limits.memory or 0
    return api.HostConfig(
        binds=tuple(_binds(options)) or None,
        mounts=tuple(_mounts(options)) or UNSET,
        tmpfs={each.target: ",".join(each.options) for each in options.tmpfs if not each.as_mount} or UNSET,
        volumes_from=options.volumes_from or None,
        storage_opt={"size": units.exact_size(options.storage_size)} if options.storage_size else UNSET,
        shm_size=bundle.SHM_SIZE if options.shm_size is None else options.shm_size,
        readonly_rootfs=options.readonly,
        masked_paths=_unless_open(options, bundle.MASKED_PATHS),
        readonly_paths=_unless_open(options, bundle.READONLY_PATHS),
        devices=tuple(map(_device, options.devices)),
        runtime=RUNTIME, init=options.init or UNSET, auto_remove=options.remove,
        restart_policy=_restart_policy(options.restart),
        log_config=api.LogConfig(type=options.log_driver, config=options.log_options),
        group_add=options.groups or None, privileged=options.privileged,
        cap_add=capabilities.normalized(options.cap_add, "CapAdd") or None,
        cap_drop=capabilities.normalized(options.cap_drop, "CapDrop") or None,
        security_opt=tuple(_security(options)) or None,
        sysctls=options.sysctls or UNSET,
        network_mode=sharing.network or str(options.network), ipc_mode=sharing.ipc or "private",
        cgroupns_mode=sharing.cgroup or "private",
        pid_mode=sharing.pid, uts_mode=sharing.uts, userns_mode=sharing.user,
        dns=options.dns, dns_options=options.dns_options, dns_search=options.dns_search,
        extra_hosts=options.extra_hosts or None,
        cpu_shares=limits.cpu_shares or 0, nano_cpus=limits.nano_cpus or 0,
        cpu_period=limits.cpu_period or 0, cpu_quota=limits.cpu_quota or 0,
        cpuset_cpus=limits.cpuset_cpus, cpuset_mems=limits.cpuset_mems,
        memory=memory, memory_reservation=limits.memory_reservation or 0,
        memory_swap=2 * memory if limits.memory_swap is None else limits.memory_swap,
        oom_score_adj=options.oom_score_adj or 0,
        blkio_weight=limits.blkio_weight or 0, pids_limit=limits.pids,
        ulimits=tuple(api.Ulimit(name=each.name, hard=each.hard, soft=each.soft) for each in options.ulimits),
    )  # fmt: skip


def _restart_policy(restart: RestartPolicy) -> api.RestartPolicy:
    return api.RestartPolicy(name=restart.name, maximum_retry_count=restart.maximum_retries)


def _device(device: Device) -> api.DeviceMapping:
    return api.DeviceMapping(
        path_on_host=device.source, path_in_container=device.target, cgroup_permissions=device.permissions
    )


def _unless_open(options: ContainerOptions, paths: tuple[str, ...]) -> tuple[str, ...] | None:
    if options.privileged:
        return None
    return () if options.systempaths_unconfined else paths


def _security(options: ContainerOptions) -> Iterator[str]:
    if options.no_new_privileges:
        yield "no-new-privileges"
    if options.seccomp_unconfined:
        yield "seccomp=unconfined"
    elif options.seccomp is not None:
        yield f"seccomp={msgspec.json.encode(options.seccomp).decode()}"
    yield from options.security_options
    if options.privileged or "host" in (options.sharing.pid, options.sharing.ipc):
        yield "label=disable"


def _binds(options: ContainerOptions) -> Iterator[str]:
    """What ``-v`` asked for, but anonymous volumes."""
    for bind in options.binds:
        if not bind.as_mount:
            yield _bind(bind.source, bind.target, _mode(bind))
    for volume in options.volumes:
        if not volume.as_mount and not volume.anonymous:
            yield _bind(volume.name, volume.target, _mode(volume))


def _bind(source: str, target: str, mode: str) -> str:
    return f"{source}:{target}:{mode}" if mode else f"{source}:{target}"


def _mode(mount: Bind | VolumeMount) -> str:
    return mount.mode or ("ro" if mount.readonly and not mount.as_mount else "")


def _mounts(options: ContainerOptions) -> Iterator[api.Mount]:
    """What ``--mount`` asked for."""
    for bind in options.binds:
        if bind.as_mount:
            tie = api.BindOptions(propagation=bind.propagation or UNSET)
            yield api.Mount(
                type="bind", source=bind.source, target=bind.target, read_only=bind.readonly or UNSET,
                bind_options=tie if tie != api.BindOptions() else UNSET,
            )  # fmt: skip
    for volume in options.volumes:
        if volume.as_mount:
            how = api.VolumeOptions(no_copy=not volume.copies or UNSET, labels=volume.labels or UNSET)
            yield api.Mount(
                type="volume", source=UNSET if volume.anonymous else volume.name, target=volume.target,
                read_only=volume.readonly or UNSET,
                volume_options=how if how != api.VolumeOptions() else UNSET,
            )  # fmt: skip
    for tmpfs in options.tmpfs:
        if tmpfs.as_mount:
            yield api.Mount(type="tmpfs", target=tmpfs.target, tmpfs_options=_tmpfs_options(tmpfs))


def _tmpfs_options(tmpfs: Tmpfs) -> api.TmpfsOptions | msgspec.UnsetType:
    given = dict(option.partition("=")[::2] for option in tmpfs.options)
    size, mode = given.get("size"), given.get("mode")
    if size is None and mode is None:
        return UNSET
    return api.TmpfsOptions(
        size_bytes=UNSET if size is None else units.parse_bytes(size), mode=UNSET if mode is None else int(mode, 8)
    )


def mount_points(options: ContainerOptions, directory: Callable[[str], str]) -> tuple[api.MountPoint, ...]:
    """What is seen inside, by where; *directory* tells where the files of a volume are."""
    points = (
        *(_bound(bind) for bind in options.binds),
        *(_volume(volume, directory(volume.name)) for volume in options.volumes),
        *(api.MountPoint(type="tmpfs", source="", destination=each.target) for each in options.tmpfs if each.as_mount),
    )
    return tuple(sorted(points, key=lambda point: point.destination))


def _bound(bind: Bind) -> api.MountPoint:
    return api.MountPoint(
        type="bind", source=bind.source, destination=bind.target, mode=_mode(bind), rw=not bind.readonly,
        propagation=bind.propagation or "rprivate",
    )  # fmt: skip


def _volume(volume: VolumeMount, directory: str) -> api.MountPoint:
    """A named volume has the mode ``z``, a shared label, unless another was asked for: so Docker's clients ask."""
    mode = _mode(volume) or ("" if volume.anonymous else "z")
    return api.MountPoint(
        type="volume", name=volume.name, source=directory, destination=volume.target, driver="local", mode=mode,
        rw=not volume.readonly,
    )  # fmt: skip
