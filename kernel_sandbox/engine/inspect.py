"""``inspect``: a container or an image in the JSON shape of Docker's Engine API.

The shapes are in ``spec.api``; what they say of a container's options in ``spec.host_config``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from kernel_sandbox.engine import image_names, measuring
from kernel_sandbox.spec import api
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.host_config import host_config, mount_points
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.options import ContainerOptions, Network
from kernel_sandbox.spec.times import rfc3339
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import Container, Status

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

STORAGE_DRIVER = "overlay"


def _time(nanoseconds: int) -> str:
    return rfc3339(nanoseconds) if nanoseconds else api.NEVER


def container_document(engine: Engine, key: str, sizes: bool = False) -> api.ContainerDocument:
    """All about a container, with *sizes* also the bytes it has written, and these with its image's.

    Raises NotFound.
    """
    container = engine.containers.find(key)
    options = container.options
    image = engine.images.of_container(container)
    path, *arguments = engine.containers.command(container)
    files = engine.paths.container(container.id)
    written = measuring.sizes(engine, (files.upper,))[0] if sizes else 0
    return api.ContainerDocument(
        id=container.id,
        created=_time(container.created),
        path=path,
        args=tuple(arguments),
        state=_state(container),
        image=container.image,
        resolv_conf_path=files.environment_file("resolv.conf"),
        hostname_path=files.environment_file("hostname"),
        hosts_path=files.environment_file("hosts"),
        log_path=files.log,
        name=f"/{container.name}",
        restart_count=container.restart_count,
        driver=STORAGE_DRIVER,
        host_config=host_config(options),
        graph_driver=_graph_driver(engine, container, image),
        size_rw=written if sizes else UNSET,
        size_root_fs=written + image.size if sizes else UNSET,
        mounts=mount_points(options, lambda name: engine.paths.volume(name).data),
        config=_run_config(container, engine.containers.config(container)),
        network_settings=api.NetworkSettings(
            networks={} if options.sharing.network else {str(options.network): api.EndpointSettings()}
        ),
    )


def _state(container: Container) -> api.ContainerState:
    return api.ContainerState(
        status=container.status.value,
        running=container.is_active,
        paused=container.status is Status.PAUSED,
        restarting=container.status is Status.RESTARTING,
        oom_killed=container.oom_killed,
        pid=container.pid,
        exit_code=container.exit_code,
        error=container.error,
        started_at=_time(container.started),
        finished_at=_time(container.finished),
        health=_health(container.health) if container.health else UNSET,
    )


def _health(health: Health) -> api.Health:
    log = (
        api.HealthcheckResult(
            start=rfc3339(result.start), end=rfc3339(result.end), exit_code=result.exit_code, output=result.output
        )
        for result in health.log
    )
    return api.Health(status=health.status, failing_streak=health.failing_streak, log=tuple(log))


def _run_config(container: Container, config: ContainerConfig) -> api.RunConfig:
    options = container.options
    streams = () if options.detached else options.attach or _all_streams(options)
    return msgspec.structs.replace(
        _image_config(config),
        hostname=options.hostname or _hostname(container),
        domainname=options.domainname,
        attach_stdin="stdin" in streams,
        attach_stdout="stdout" in streams,
        attach_stderr="stderr" in streams,
        tty=options.tty,
        open_stdin=options.interactive,
        stdin_once=options.interactive and "stdin" in streams,
        image=options.image,
        labels=config.labels,
    )


def _all_streams(options: ContainerOptions) -> tuple[str, ...]:
    return ("stdin", "stdout", "stderr") if options.interactive else ("stdout", "stderr")


def _hostname(container: Container) -> str:
    shares = container.options.network is Network.HOST or container.options.sharing.uts == "host"
    return os.uname().nodename if shares else container.id[:12]


def _image_config(config: ContainerConfig) -> api.RunConfig:
    return api.RunConfig(
        user=config.user,
        exposed_ports=config.exposed_ports or UNSET,
        env=config.env or None,
        cmd=config.cmd or None,
        healthcheck=config.healthcheck or UNSET,
        args_escaped=config.args_escaped or UNSET,
        volumes=config.volumes or None,
        working_dir=config.working_dir,
        entrypoint=config.entrypoint or None,
        on_build=config.on_build or None,
        labels=config.labels or None,
        stop_signal=config.stop_signal or UNSET,
        stop_timeout=UNSET if config.stop_timeout is None else config.stop_timeout,
        shell=config.shell or UNSET,
    )


def _graph_driver(engine: Engine, container: Container, image: Image) -> api.GraphDriver:
    """Where the layers are; the merged tree is seen through a process, since it is mounted for the container alone."""
    files = engine.paths.container(container.id)
    data = {
        "LowerDir": _layers(engine, image),
        "MergedDir": f"/proc/{container.pid}/root" if container.pid else "",
        "UpperDir": files.upper,
        "WorkDir": files.work,
    }
    return api.GraphDriver(data=data, name=STORAGE_DRIVER)


def _layers(engine: Engine, image: Image) -> str:
    return ":".join(engine.paths.layer(layer.chain_id) for layer in reversed(image.layers))


def _layers_of_image(engine: Engine, image: Image) -> Mapping[str, str]:
    """As with Docker, the topmost layer is told apart."""
    top, _, lower = _layers(engine, image).partition(":")
    return {**({"LowerDir": lower} if lower else {}), "UpperDir": top}


def image_document(engine: Engine, name: str) -> api.ImageDocument:
    """All about an image. Raises NotFound."""
    image = engine.images.find(name)
    config = engine.images.config(image)
    return api.ImageDocument(
        id=image.id,
        repo_tags=tuple(name.familiar() for name in image_names.tags(image)),
        repo_digests=tuple(name.familiar() for name in image_names.digests(image)),
        parent=image.parent,
        comment=config.history[-1].comment if config.history else "",
        created=config.created or api.NEVER,
        author=config.author,
        config=_image_config(config.config),
        architecture=config.architecture,
        variant=config.variant or UNSET,
        os=config.os,
        os_version=config.os_version or UNSET,
        size=image.size,
        virtual_size=image.size,
        graph_driver=api.GraphDriver(data=_layers_of_image(engine, image), name=STORAGE_DRIVER),
        root_fs=api.RootFS(type=config.rootfs.type, layers=config.rootfs.diff_ids),
        metadata=api.ImageMetadata(last_tag_time=_time(image.tagged)),
    )
