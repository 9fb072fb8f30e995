"""What a start of one container needs: the stored options meet the image and become a bundle.

Here: directories, devices, namespaces that are shared, volumes to be filled, files below /etc. Not here: the process
that is started (``runtime``), and what becomes of it (``supervisor``).
"""

from __future__ import annotations

import contextlib
import functools
import os

import msgspec

from kernel_sandbox.engine import accounts, devices, locks, mounted
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, HostError, NotFound
from kernel_sandbox.runtime import cgroups, ids, monitor, process, processes, seccomp
from kernel_sandbox.runtime.rootfs import TreePaths
from kernel_sandbox.spec import bundle, health, image, mounts, resolver, runtime
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.options import HOST, Bind, ContainerOptions, Network
from kernel_sandbox.spec.user import identify
from kernel_sandbox.storage import state
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging, store_errors


class Preparation:
    """Turns one container's record into what the runtime starts, anew for each start; its place is held meanwhile."""

    def __init__(self, paths: Paths, records: state.State, container: state.Container) -> None:
        self._paths = paths
        self._files = paths.container(container.id)
        self._state = records
        self._container = container
        self._filling = contextlib.ExitStack()

    def make(
        self, console: runtime.ConsoleSize | None, is_restart: bool = False
    ) -> tuple[process.Container, monitor.Check | None]:
        """The bundle on disk, and everything that the runtime needs beside it.

        Raises NotFound, Conflict, HostError, UsageError and StoreError where the container cannot be started.
        """
        config = self._image_config()
        with store_errors(self._files.home):
            self._make_directories()
            joined = self._joined()
            maps = self._maps(joined)
            found = self._devices(maps)
            spec = self._bundle(config, console, maps, found.binds, joined)
            with open(self._files.config, "wb") as file:
                file.write(runtime.encode(spec))
            unfilled = () if is_restart or self._container.started else self._unfilled()
        options = self._container.options
        binds = (*mounted.environment(self._files), *options.binds, *mounted.volumes(self._paths, options))
        own = {bind.target: bind.source for bind in binds}
        filter_ = spec.linux.seccomp
        container = process.Container(
            id=self._container.id,
            spec=spec,
            maps=maps,
            trees=TreePaths(self._layers, self._files.writable, own, unfilled, found.nodes),
            seccomp=seccomp.compiled(filter_, self._paths.cache) if filter_ else None,
            keeps_stdin=options.interactive,
            reaps=options.init,
            privileged=ids.is_privileged(),
        )
        check = health.merged(options.health, config.healthcheck)
        return container, monitor.Check(check, config.shell) if check else None

    def let_go(self) -> None:
        """The command runs: volumes are filled, and others may use them."""
        self._filling.close()

    def _unfilled(self) -> tuple[str, ...]:
        """Where the first start fills empty volumes: these are locked until the command runs."""
        copying = [each for each in self._container.options.volumes if each.copies]
        for name in sorted({each.name for each in copying}):
            self._filling.enter_context(locks.exclusive(self._paths.volume(name).lock))
        return tuple(each.target for each in copying)

    def _make_directories(self) -> None:
        mounted.make_directories(self._files, self._container.options)
        for volume in self._container.options.volumes:
            self._paths.volume(volume.name).ensure()
        for bind in self._container.options.binds:
            _make_source(bind)

    @functools.cached_property
    def _layers(self) -> tuple[str, ...]:
        record = self._image()
        return (*(self._paths.layer(layer.chain_id) for layer in reversed(record.layers)), self._paths.skeleton)

    def _image(self) -> Image:
        found = self._state.images.of_container(self._container.image)
        if not found:
            raise NotFound(f"No such image: {self._container.image}")
        return found

    def _image_config(self) -> image.ContainerConfig:
        layout = ImageLayout(self._paths.oci, Staging(self._paths.staging))
        return image.decode(image.ImageConfig, layout.read(self._container.image)).config

    def _joined(self) -> dict[str, int]:
        """The first processes of the containers whose namespaces this one shares, by their ids."""
        donors = dict.fromkeys(self._container.options.sharing.of_containers().values())
        found = {id_: self._state.container(id_) for id_ in donors}
        running = {
            id_: processes.visible(donor.pid) for id_, donor in found.items() if donor and donor.is_active and donor.pid
        }
        for id_ in donors:
            if id_ not in running:
                raise Conflict(f"cannot join the namespaces of a non running container: {id_}")
        return running

    def _maps(self, joined: dict[str, int]) -> ids.IdMaps:
        """Its own, the host's, or those of the container whose user namespace comes with the one that is joined."""
        options = self._container.options
        for pid in joined.values():
            return ids.maps_of(pid)
        return ids.container_maps(self._container.slot, options.privileged or options.sharing.user == HOST)

    def _devices(self, maps: ids.IdMaps) -> devices.Found:
        options = self._container.options
        knows_host_nodes = not ids.is_privileged() or maps.uid[0].host_id == 0
        return devices.find(options.devices, options.privileged, None if knows_host_nodes else (maps.uid, maps.gid))

    def _bundle(
        self,
        config: image.ContainerConfig,
        console: runtime.ConsoleSize | None,
        maps: ids.IdMaps,
        found: tuple[Bind, ...],
        joined: dict[str, int],
    ) -> runtime.Spec:
        options = self._container.options
        machine = os.uname()
        own = self._shared_hostname(machine.nodename)
        host = bundle.Host(
            uid_map=maps.uid,
            gid_map=maps.gid,
            machine=machine.machine,
            kernel=machine.release,
            cpus=os.cpu_count() or 1,
            environment_files=mounted.environment(self._files),
            hostname=own,
            joined=joined,
            devices=found,
            has_message_queues=os.path.isdir("/dev/mqueue"),
        )
        self._write_environment_files(bundle.hostname(self._container.id, options, own))
        binds = (*options.binds, *mounted.volumes(self._paths, options))
        bound = msgspec.structs.replace(options, binds=binds, volumes=())
        identity = accounts.identity((self._files.upper, *self._layers), options.user or config.user, options.groups)
        spec = bundle.make(self._container.id, bound, config, identity, host)
        wanted = msgspec.structs.replace(spec.process, console_size=console if spec.process.terminal else None)
        return msgspec.structs.replace(spec, process=wanted)

    def _shared_hostname(self, machine: str) -> str:
        """The name of the container whose network this one is in, else the *machine*'s."""
        donor = self._state.container(self._container.options.sharing.of_containers().get("network", ""))
        return bundle.hostname(donor.id, donor.options, machine) if donor else machine

    def _write_environment_files(self, hostname: str) -> None:
        options = self._container.options
        shared = options.network is Network.HOST
        contents = {
            "hostname": f"{hostname}\n",
            "hosts": resolver.hosts(hostname, options.extra_hosts),
            "resolv.conf": resolver.resolv_conf(options, _host_file("/etc/resolv.conf") if shared else ""),
        }
        for name, content in contents.items():
            with open(self._files.environment_file(name), "w") as file:
                file.write(content)
                os.chmod(file.fileno(), 0o644)


def prepare() -> None:
    """Do once, before the monitors are forked, what every start does first: read this machine, build the coders."""
    ids.store_maps()
    cgroups.hierarchies()
    maps = ids.container_maps(0)
    machine = os.uname()
    host = bundle.Host(maps.uid, maps.gid, machine.machine, machine.release, 1, ())
    options = ContainerOptions("sample", ("true",))
    spec = bundle.make("sample", options, image.ContainerConfig(), identify("", "", ""), host)
    runtime.decode(runtime.encode(spec))
    mounts.plan(spec)
    msgspec.json.decode(msgspec.json.encode(options), type=decodable(ContainerOptions))
    rootfs = image.RootFS(type="layers", diff_ids=())
    image.decode(image.ImageConfig, image.encode(image.ImageConfig(architecture="", os="linux", rootfs=rootfs)))


def _make_source(bind: Bind) -> None:
    """The missing directory of ``-v``, as Docker makes it."""
    if bind.as_mount or os.path.lexists(bind.source):
        return
    try:
        os.makedirs(bind.source, mode=0o755, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"error while creating mount source path '{bind.source}': mkdir {error.filename}: "
            f"{(error.strerror or '').lower()}"
        ) from error


def _host_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
