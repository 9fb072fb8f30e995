"""Starting one container and staying with it: the engine's part of a monitor's life.

Runs as a job in a process of its own. Here the stored options meet the image and become a bundle; the runtime does
the rest and tells the journal, which writes the store.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

import msgspec

from kernel_sandbox.engine import accounts, devices, locks, mounted
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.removal import end_processes, remove_container
from kernel_sandbox.engine.tasks import Supervision
from kernel_sandbox.errors import Conflict, HostError, NotFound, SandboxError, StoreError
from kernel_sandbox.runtime import cgroups, ids, log, monitor, process, processes, seccomp, sessions
from kernel_sandbox.runtime.frames import Ending, Execution
from kernel_sandbox.runtime.rootfs import TreePaths
from kernel_sandbox.spec import bundle, health, image, mounts, resolver, restart, runtime
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.options import HOST, Bind, ContainerOptions, Network
from kernel_sandbox.spec.user import identify
from kernel_sandbox.storage import state
from kernel_sandbox.storage.events import News
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging, store_errors

_UNREAD_LOG = 1 << 20


def supervise(argument: bytes, descriptors: tuple[int, ...]) -> bytes:
    """The job: run the container to its end. The first descriptor is the client that asked for it."""
    task = msgspec.msgpack.decode(argument, type=Supervision)
    monitor.detach(descriptors)
    paths = Paths(task.home, task.run)
    client = socket.socket(fileno=os.dup(descriptors[0]))
    with _Place(paths, task.container) as place:
        session = sessions.Session(client, owns_container=task.foreground)
        _Supervisor(paths, task.container, place).run(session, task.console)
    return b""


class _Place:
    """The container's lock: whoever holds it is the only monitor."""

    def __init__(self, paths: Paths, id_: str) -> None:
        self._files = paths.container(id_)
        with store_errors(self._files.home):
            self._lock = locks.take(self._files.lock)
        if self._lock is None:
            raise Conflict(f"container {id_[:12]} is running already")
        self._remove_socket()

    def _remove_socket(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._files.socket)

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next monitor in."""
        if self._lock is not None:
            self._remove_socket()
            os.close(self._lock)
            self._lock = None


class _Supervisor:
    """Turns one container's record into a running process, as often as its policy says; to be made with its place held.

    It is the monitor's journal: what that learns goes into the store.
    """

    def __init__(self, paths: Paths, id_: str, place: _Place) -> None:
        self._paths = paths
        self._files = paths.container(id_)
        self._place = place
        self._state = state.State.at(paths.database)
        found = self._state.container(id_)
        if found is None:
            raise NotFound(f"No such container: {id_}")
        end_processes(found)
        self._container = found
        self._restarts = 0
        self._is_attached = False
        self._news: list[News] = []
        self._filling = contextlib.ExitStack()

    def run(self, client: sessions.Session, console: runtime.ConsoleSize | None) -> None:
        """Stay with the container until it has ended for good; the place is left as soon as that is recorded."""
        try:
            prepared, check = self._prepared(console)
            with self._log_and_socket() as attending:
                self._is_attached = client.owns_container
                if client.owns_container:
                    client.follow(log.end(self._files.log))
                attending.welcome(client)
                self._live(attending, prepared, check, client)
        except OSError as error:
            failure = HostError(f"cannot start the container: {(error.strerror or str(error)).lower()}")
            self._record_failure(failure)
            raise failure from error
        except SandboxError as error:
            self._record_failure(error)
            raise

    def _log_and_socket(self) -> monitor.Monitor:
        options = self._container.options
        max_size = _UNREAD_LOG if options.log_driver == "none" else options.log_max_size
        writer = log.LogWriter(self._files.log, max_size, options.log_max_files)
        return monitor.Monitor(writer, self._files.socket, self)

    def _live(
        self,
        attending: monitor.Monitor,
        prepared: process.Container,
        check: monitor.Check | None,
        client: sessions.Session | None,
    ) -> None:
        """One run after the other, for as long as the policy has it so."""
        pause = 0.0
        while True:
            start = time.monotonic()
            ending = attending.run(prepared, check, client)
            self.publish()
            client = None
            again = not attending.is_told_to_end and self._is_due(ending)
            if not again:
                attending.stop_listening()
            self._exited(ending, again)
            attending.conclude(ending)
            pause = restart.delay(pause, time.monotonic() - start)
            if not again or not attending.wait(pause):
                break
            self._restarts += 1
            prepared, check = self._prepared(None)
        if again:
            attending.stop_listening()
            self._exited(ending, False)
            attending.conclude(ending)
        attending.finish()

    def _is_due(self, ending: Ending) -> bool:
        return restart.is_due(self._current_options().restart, ending.exit_code, self._restarts)

    def _current_options(self) -> ContainerOptions:
        """The options as they are: ``update`` may have changed them."""
        found = self._state.container(self._container.id)
        return (found or self._container).options

    def started(self, running: monitor.Running) -> None:
        self._filling.close()
        self._state.set_running(
            self._container,
            running.pid,
            running.start_time,
            running.cgroups,
            time.time_ns(),
            self._restarts,
            self._is_attached and not self._restarts,
        )

    def rest(self) -> None:
        self._state.close()

    def paused(self, paused: bool) -> None:
        self._state.set_paused(self._container, paused)
        self.rest()

    def healthy(self, health: Health) -> None:
        with contextlib.suppress(StoreError):
            self._state.set_health(self._container, health)
        self.rest()

    def executing(self, execution: Execution) -> None:
        line = " ".join(execution.process.args)
        for action in ("exec_create", "exec_start"):
            self._news.append(News(time.time_ns(), f"{action}: {line}", {"execID": execution.id}))

    def executed(self, execution: str, exit_code: int) -> None:
        self._news.append(News(time.time_ns(), "exec_die", {"execID": execution, "exitCode": str(exit_code)}))

    def publish(self) -> None:
        news, self._news = self._news, []
        if news:
            with contextlib.suppress(StoreError):
                self._state.tell_all(self._container, news)
            self.rest()

    def _exited(self, ending: Ending, again: bool) -> None:
        """Record the end. One that cannot be recorded (a full disk) is found out by the next command."""
        with contextlib.suppress(StoreError, NotFound):
            self._state.set_exited(self._container, ending.exit_code, ending.oom_killed, time.time_ns(), again)
            if self._container.options.remove and not again:
                remove_container(self._paths, self._state, self._container)
        if not again:
            self._place.leave()

    def _record_failure(self, error: SandboxError) -> None:
        if self._container.options.remove:
            remove_container(self._paths, self._state, self._container)
            return
        with contextlib.suppress(NotFound):
            self._state.set_failed(self._container, error.exit_code, str(error))

    def _prepared(self, console: runtime.ConsoleSize | None) -> tuple[process.Container, monitor.Check | None]:
        """The bundle on disk, and everything that the runtime needs beside it."""
        config = self._image_config()
        with store_errors(self._files.home):
            self._make_directories()
            joined = self._joined()
            maps = self._maps(joined)
            found = self._devices(maps)
            spec = self._bundle(config, console, maps, found.binds, joined)
            with open(self._files.config, "wb") as file:
                file.write(runtime.encode(spec))
            unfilled = self._unfilled()
        options = self._container.options
        binds = (*mounted.environment(self._files), *options.binds, *mounted.volumes(self._paths, options))
        own = {bind.target: bind.source for bind in binds}
        filter_ = spec.linux.seccomp
        container = process.Container(
            id=self._container.id,
            spec=spec,
            maps=maps,
            trees=TreePaths(self._layers(), self._files.writable, own, unfilled, found.nodes),
            seccomp=seccomp.compiled(filter_, self._paths.cache) if filter_ else None,
            keeps_stdin=options.interactive,
            reaps=options.init,
            privileged=ids.is_privileged(),
        )
        check = health.merged(options.health, config.healthcheck)
        return container, monitor.Check(check, config.shell) if check else None

    def _unfilled(self) -> tuple[str, ...]:
        """Where the first start fills empty volumes: these are locked until the command runs."""
        if self._container.started or self._restarts:
            return ()
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

    def _layers(self) -> tuple[str, ...]:
        record = self._image()
        return (*(self._paths.layer(layer.chain_id) for layer in reversed(record.layers)), self._paths.skeleton)

    def _image(self) -> Image:
        found = self._state.images.by_id(self._container.image.hex)
        if not found:
            raise NotFound(f"No such image: {self._container.image}")
        return found[0]

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
        identity = accounts.identity((self._files.upper, *self._layers()), options.user or config.user, options.groups)
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
    msgspec.json.decode(msgspec.json.encode(options), type=ContainerOptions)
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
