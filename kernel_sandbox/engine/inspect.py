"""``inspect``: a container or an image in the JSON shape of Docker's Engine API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.spec import capabilities, reference
from kernel_sandbox.spec.image import ContainerConfig, encode
from kernel_sandbox.spec.options import Bind
from kernel_sandbox.storage.state import Container, Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_NEVER = "0001-01-01T00:00:00Z"


class Shape(msgspec.Struct, frozen=True, rename="pascal"):
    """A part of the API's JSON: field names in Pascal case, every field written."""


class ContainerState(Shape, frozen=True):
    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = msgspec.field(name="OOMKilled")
    dead: bool
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str


class MountPoint(Shape, frozen=True):
    type: str
    source: str
    destination: str
    mode: str
    rw: bool = msgspec.field(name="RW")
    propagation: str


class HostConfig(Shape, frozen=True):
    binds: tuple[str, ...] | None
    network_mode: str
    auto_remove: bool
    cap_add: tuple[str, ...] | None
    cap_drop: tuple[str, ...] | None
    security_opt: tuple[str, ...] | None
    readonly_rootfs: bool
    memory: int
    memory_swap: int
    pids_limit: int | None


class RunConfig(Shape, frozen=True):
    hostname: str
    user: str
    attach_stdin: bool
    open_stdin: bool
    tty: bool
    env: tuple[str, ...]
    cmd: tuple[str, ...] | None
    image: str
    working_dir: str
    entrypoint: tuple[str, ...] | None
    labels: dict[str, str]


class GraphDriver(Shape, frozen=True):
    name: str
    data: dict[str, str]


class NetworkSettings(Shape, frozen=True):
    networks: dict[str, dict[str, str]]


class ContainerDocument(Shape, frozen=True):
    """``GET /containers/{id}/json``."""

    id: str
    created: str
    path: str
    args: tuple[str, ...]
    state: ContainerState
    image: str
    hostname_path: str
    hosts_path: str
    resolv_conf_path: str
    log_path: str
    name: str
    driver: str
    platform: str
    host_config: HostConfig
    graph_driver: GraphDriver
    mounts: tuple[MountPoint, ...]
    config: RunConfig
    network_settings: NetworkSettings


class RootFS(Shape, frozen=True):
    type: str
    layers: tuple[str, ...]


class ImageDocument(Shape, frozen=True):
    """``GET /images/{name}/json``."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    comment: str
    created: str
    author: str
    config: msgspec.Raw
    architecture: str
    os: str
    size: int
    graph_driver: GraphDriver
    root_fs: RootFS = msgspec.field(name="RootFS")


def to_json(documents: list[object]) -> str:
    """An array as ``inspect`` prints it, indented by four."""
    return msgspec.json.format(msgspec.json.encode(documents, enc_hook=str), indent=4).decode()


def _time(nanoseconds: int) -> str:
    if not nanoseconds:
        return _NEVER
    whole = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{nanoseconds % 10**9:09}Z"


def container_document(engine: Engine, key: str) -> ContainerDocument:
    """All about a container. Raises NotFound."""
    container = engine.containers.find(key)
    options = container.options
    path, *arguments = engine.containers.command(container)
    files = engine.paths.container(container.id)
    return ContainerDocument(
        id=container.id,
        created=_time(container.created),
        path=path,
        args=tuple(arguments),
        state=_state(container),
        image=container.image,
        hostname_path=files.environment_file("hostname"),
        hosts_path=files.environment_file("hosts"),
        resolv_conf_path=files.environment_file("resolv.conf"),
        log_path=files.log,
        name=f"/{container.name}",
        driver="overlay",
        platform="linux",
        host_config=_host_config(container),
        graph_driver=GraphDriver("overlay", _overlay(engine, container)),
        mounts=tuple(map(_mount_point, options.binds)),
        config=_run_config(container, engine.containers.config(container)),
        network_settings=NetworkSettings({options.network.value: {}}),
    )


def _state(container: Container) -> ContainerState:
    return ContainerState(
        status=container.status.value,
        running=container.is_active,
        paused=False,
        restarting=False,
        oom_killed=container.oom_killed,
        dead=False,
        pid=container.pid,
        exit_code=container.exit_code,
        error=container.error,
        started_at=_time(container.started),
        finished_at=_time(container.finished),
    )


def _host_config(container: Container) -> HostConfig:
    options = container.options
    memory = options.limits.memory or 0
    security = [*(["no-new-privileges"] if options.no_new_privileges else [])]
    security += ["seccomp=unconfined"] if options.seccomp_unconfined else []
    return HostConfig(
        binds=tuple(f"{bind.source}:{bind.target}{':ro' if bind.readonly else ''}" for bind in options.binds) or None,
        network_mode=options.network.value,
        auto_remove=options.remove,
        cap_add=capabilities.normalized(options.cap_add, "CapAdd") or None,
        cap_drop=capabilities.normalized(options.cap_drop, "CapDrop") or None,
        security_opt=tuple(security) or None,
        readonly_rootfs=options.readonly,
        memory=memory,
        memory_swap=2 * memory,
        pids_limit=options.limits.pids,
    )


def _run_config(container: Container, config: ContainerConfig) -> RunConfig:
    options = container.options
    return RunConfig(
        hostname=options.hostname or container.id[:12],
        user=config.user,
        attach_stdin=options.interactive,
        open_stdin=options.interactive,
        tty=False,
        env=config.env,
        cmd=config.cmd or None,
        image=options.image,
        working_dir=config.working_dir,
        entrypoint=config.entrypoint or None,
        labels=dict(config.labels),
    )


def _overlay(engine: Engine, container: Container) -> dict[str, str]:
    files = engine.paths.container(container.id)
    layers = engine.images.find(container.image).layers
    return {
        "LowerDir": ":".join(engine.paths.layer(layer.chain_id) for layer in reversed(layers)),
        "UpperDir": files.upper,
        "WorkDir": files.work,
    }


def _mount_point(bind: Bind) -> MountPoint:
    mode = "ro" if bind.readonly else ""
    return MountPoint("bind", bind.source, bind.target, mode, not bind.readonly, "rprivate")


def image_document(engine: Engine, name: str) -> ImageDocument:
    """All about an image. Raises NotFound."""
    image: Image = engine.images.find(name)
    config = engine.images.config(image)
    names = [reference.parse(tag) for tag in image.tags]
    return ImageDocument(
        id=image.id,
        repo_tags=tuple(each.familiar() for each in names),
        repo_digests=tuple(sorted({f"{each.familiar_name}@{image.manifest}" for each in names})),
        comment=config.history[-1].comment if config.history else "",
        created=config.created,
        author=config.author,
        config=msgspec.Raw(encode(config.config)),
        architecture=config.architecture,
        os=config.os,
        size=image.size,
        graph_driver=GraphDriver(
            "overlay", {"LowerDir": ":".join(engine.paths.layer(each.chain_id) for each in reversed(image.layers))}
        ),
        root_fs=RootFS(config.rootfs.type, config.rootfs.diff_ids),
    )
