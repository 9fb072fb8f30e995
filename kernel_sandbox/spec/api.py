"""The shapes of Docker's Engine API (v1.41) that ``inspect`` shows: ContainerInspect and ImageInspect.

Field names and their order are the API's. What it always writes is here without a meaning, too, so that programs find
every key: what there cannot be here is empty, zero or null. Not here: where the values come from.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from kernel_sandbox.spec.image import Empty, Healthcheck

NEVER = "0001-01-01T00:00:00Z"
_INITIALS = {"cpu": "Cpu", "ip": "IP", "ipv6": "IPv6", "io": "IO", "iops": "IOps", "bps": "Bps", "rw": "Rw"}


def _in_go(field: str) -> str:
    """A field's name as Go writes it: ``global_ipv6_address`` is ``GlobalIPv6Address``."""
    return "".join(_INITIALS.get(word, word.capitalize()) for word in field.split("_"))


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename=_in_go):
    """A part of the API's JSON. A field that is UNSET is left out."""


class HealthcheckResult(Shape, frozen=True, kw_only=True):
    start: str
    end: str
    exit_code: int
    output: str


class Health(Shape, frozen=True, kw_only=True):
    status: str
    failing_streak: int
    log: tuple[HealthcheckResult, ...]


class ContainerState(Shape, frozen=True, kw_only=True):
    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = msgspec.field(name="OOMKilled")
    dead: bool = False
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str
    health: Health | UnsetType = UNSET


class MountPoint(Shape, frozen=True, kw_only=True):
    """What is seen inside: a ``bind``, ``volume`` or ``tmpfs``."""

    type: str
    name: str | UnsetType = UNSET
    source: str
    destination: str
    driver: str | UnsetType = UNSET
    mode: str = ""
    rw: bool = msgspec.field(name="RW", default=True)
    propagation: str = ""


class BindOptions(Shape, frozen=True, kw_only=True):
    propagation: str | UnsetType = UNSET


class VolumeOptions(Shape, frozen=True, kw_only=True):
    no_copy: bool | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET
    driver_config: Empty = Empty()


class TmpfsOptions(Shape, frozen=True, kw_only=True):
    size_bytes: int | UnsetType = UNSET
    mode: int | UnsetType = UNSET


class Mount(Shape, frozen=True, kw_only=True):
    """What ``--mount`` asked for."""

    type: str
    source: str | UnsetType = UNSET
    target: str
    read_only: bool | UnsetType = UNSET
    bind_options: BindOptions | UnsetType = UNSET
    volume_options: VolumeOptions | UnsetType = UNSET
    tmpfs_options: TmpfsOptions | UnsetType = UNSET


class LogConfig(Shape, frozen=True, kw_only=True):
    type: str
    config: Mapping[str, str]


class RestartPolicy(Shape, frozen=True, kw_only=True):
    name: str
    maximum_retry_count: int


class DeviceMapping(Shape, frozen=True, kw_only=True):
    path_on_host: str
    path_in_container: str
    cgroup_permissions: str


class Ulimit(Shape, frozen=True, kw_only=True):
    name: str
    hard: int
    soft: int


class HostConfig(Shape, frozen=True, kw_only=True):
    """How a container is tied to its host. Sizes are bytes."""

    binds: tuple[str, ...] | None
    container_id_file: str = msgspec.field(name="ContainerIDFile", default="")
    log_config: LogConfig
    network_mode: str
    port_bindings: Mapping[str, str] = {}
    restart_policy: RestartPolicy
    auto_remove: bool
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None
    cap_add: tuple[str, ...] | None
    cap_drop: tuple[str, ...] | None
    cgroupns_mode: str
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None
    ipc_mode: str
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int
    pid_mode: str
    privileged: bool
    publish_all_ports: bool = False
    readonly_rootfs: bool
    security_opt: tuple[str, ...] | None
    storage_opt: Mapping[str, str] | UnsetType = UNSET
    tmpfs: Mapping[str, str] | UnsetType = UNSET
    uts_mode: str = msgspec.field(name="UTSMode")
    userns_mode: str
    shm_size: int
    sysctls: Mapping[str, str] | UnsetType = UNSET
    runtime: str
    console_size: tuple[int, int] = (0, 0)
    isolation: str = ""
    cpu_shares: int
    memory: int
    nano_cpus: int
    cgroup_parent: str = ""
    blkio_weight: int
    blkio_weight_device: tuple[str, ...] = ()
    blkio_device_read_bps: tuple[str, ...] = ()
    blkio_device_write_bps: tuple[str, ...] = ()
    blkio_device_read_iops: tuple[str, ...] = ()
    blkio_device_write_iops: tuple[str, ...] = ()
    cpu_period: int
    cpu_quota: int
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str
    cpuset_mems: str
    devices: tuple[DeviceMapping, ...]
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[str, ...] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = msgspec.field(name="KernelMemoryTCP", default=0)
    memory_reservation: int
    memory_swap: int
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    pids_limit: int | None
    ulimits: tuple[Ulimit, ...]
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0
    mounts: tuple[Mount, ...] | UnsetType = UNSET
    masked_paths: tuple[str, ...] | None
    readonly_paths: tuple[str, ...] | None
    init: bool | UnsetType = UNSET


class RunConfig(Shape, frozen=True, kw_only=True):
    """What runs in a container, or in each made from an image."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Mapping[str, Empty] | UnsetType = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str = ""
    volumes: Mapping[str, Empty] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType = UNSET
    shell: tuple[str, ...] | UnsetType = UNSET


class GraphDriver(Shape, frozen=True, kw_only=True):
    data: Mapping[str, str]
    name: str


class EndpointSettings(Shape, frozen=True, kw_only=True):
    ipam_config: None = msgspec.field(name="IPAMConfig", default=None)
    links: None = None
    aliases: None = None
    network_id: str = msgspec.field(name="NetworkID", default="")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    mac_address: str = ""
    driver_opts: None = None


class NetworkSettings(Shape, frozen=True, kw_only=True):
    bridge: str = ""
    sandbox_id: str = msgspec.field(name="SandboxID", default="")
    hairpin_mode: bool = False
    link_local_ipv6_address: str = ""
    link_local_ipv6_prefix_len: int = 0
    ports: Mapping[str, str] = {}
    sandbox_key: str = ""
    secondary_ip_addresses: None = None
    secondary_ipv6_addresses: None = None
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    mac_address: str = ""
    networks: Mapping[str, EndpointSettings]


class ContainerDocument(Shape, frozen=True, kw_only=True):
    """``GET /containers/{id}/json``."""

    id: str
    created: str
    path: str
    args: tuple[str, ...]
    state: ContainerState
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str
    platform: str = "linux"
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: tuple[str, ...] | None = msgspec.field(name="ExecIDs", default=None)
    host_config: HostConfig
    graph_driver: GraphDriver
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    mounts: tuple[MountPoint, ...]
    config: RunConfig
    network_settings: NetworkSettings


class RootFS(Shape, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    layers: tuple[str, ...] = ()


class ImageMetadata(Shape, frozen=True, kw_only=True):
    last_tag_time: str = NEVER


class ImageDocument(Shape, frozen=True, kw_only=True):
    """``GET /images/{name}/json``."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    parent: str = ""
    comment: str
    created: str
    container: str = ""
    container_config: RunConfig = RunConfig()
    docker_version: str = ""
    author: str
    config: RunConfig
    architecture: str
    variant: str | UnsetType = UNSET
    os: str
    os_version: str | UnsetType = UNSET
    size: int
    virtual_size: int
    graph_driver: GraphDriver
    root_fs: RootFS = msgspec.field(name="RootFS")
    metadata: ImageMetadata = ImageMetadata()
