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

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.removal import end_processes, remove_container, remove_tree
from kernel_sandbox.engine.tasks import Supervision
from kernel_sandbox.errors import Conflict, HostError, NotFound, SandboxError
from kernel_sandbox.runtime import cgroups, ids, monitor, process, seccomp, sessions
from kernel_sandbox.runtime.frames import Ending
from kernel_sandbox.runtime.rootfs import TreePaths
from kernel_sandbox.spec import bundle, image, mounts, runtime
from kernel_sandbox.spec.options import Bind, ContainerOptions, Network
from kernel_sandbox.spec.user import Identity, identify
from kernel_sandbox.storage import merged, state
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging, store_errors

_MAX_ACCOUNTS = 1 << 20


def supervise(argument: bytes, descriptors: tuple[int, ...]) -> bytes:
    """The job: run the container to its end. The first descriptor is the client that asked for it."""
    task = msgspec.msgpack.decode(argument, type=Supervision)
    monitor.detach(descriptors)
    paths = Paths(task.home, task.run)
    client = socket.socket(fileno=os.dup(descriptors[0]))
    with _Place(paths, task.container) as place:
        session = sessions.Session(client, owns_container=task.foreground)
        _Supervisor(paths, task.container, place).run(session)
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
    """Turns one container's record into a running process; to be made with its place held."""

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

    def run(self, client: sessions.Session) -> None:
        """Stay with the container until it has ended; the place is left as soon as that is recorded."""
        try:
            container = self._prepared()
            if client.owns_container:
                client.follow(_size(self._files.log))
            journal = _Journal(self._paths, self._state, self._container, self._place)
            monitor.run(container, journal, client)
        except OSError as error:
            failure = HostError(f"cannot start the container: {(error.strerror or str(error)).lower()}")
            self._record_failure(failure)
            raise failure from error
        except SandboxError as error:
            self._record_failure(error)
            raise

    def _record_failure(self, error: SandboxError) -> None:
        if self._container.options.remove:
            remove_container(self._paths, self._state, self._container)
            return
        with contextlib.suppress(NotFound):
            self._state.set_failed(self._container, error.exit_code, str(error))

    def _prepared(self) -> process.Container:
        """The bundle on disk, and everything that the runtime needs beside it."""
        with store_errors(self._files.home):
            self._make_directories()
            spec = self._bundle()
            with open(self._files.config, "wb") as file:
                file.write(runtime.encode(spec))
        maps = ids.IdMaps(spec.linux.uid_mappings, spec.linux.gid_mappings)
        binds = (*self._environment_binds(), *self._container.options.binds)
        own = {bind.target: bind.source for bind in binds}
        filter_ = spec.linux.seccomp
        return process.Container(
            id=self._container.id,
            spec=spec,
            maps=maps,
            trees=TreePaths(self._layers(), self._files.writable, own),
            seccomp=seccomp.compiled(filter_, self._paths.cache) if filter_ else None,
            log_path=self._files.log,
            socket_path=self._files.socket,
            keeps_stdin=self._container.options.interactive,
            privileged=ids.is_privileged(),
        )

    def _make_directories(self) -> None:
        """Made at the first start; overlayfs wants its work directory fresh at each."""
        os.makedirs(self._files.home, mode=0o700, exist_ok=True)
        os.makedirs(self._files.upper, exist_ok=True)
        for directory in (self._files.writable, self._files.upper):
            os.chmod(directory, 0o755)
        if os.path.isdir(self._files.work):
            remove_tree(self._files.work)
        os.mkdir(self._files.work, 0o700)

    def _layers(self) -> tuple[str, ...]:
        record = self._image()
        return (*(self._paths.layer(layer.chain_id) for layer in reversed(record.layers)), self._paths.skeleton)

    def _image(self) -> state.Image:
        found = self._state.images_by_id(self._container.image.hex)
        if not found:
            raise NotFound(f"No such image: {self._container.image}")
        return found[0]

    def _bundle(self) -> runtime.Spec:
        options = self._container.options
        layout = ImageLayout(self._paths.oci, Staging(self._paths.staging))
        config = image.decode(image.ImageConfig, layout.read(self._container.image)).config
        maps = ids.container_maps(self._container.slot)
        machine = os.uname()
        host = bundle.Host(
            uid_map=maps.uid,
            gid_map=maps.gid,
            machine=machine.machine,
            kernel=machine.release,
            cpus=os.cpu_count() or 1,
            environment_files=self._environment_binds(),
        )
        self._write_environment_files(bundle.hostname(self._container.id, options))
        return bundle.make(self._container.id, options, config, self._identity(options.user or config.user), host)

    def _identity(self, user: str) -> Identity:
        layers = (self._files.upper, *self._layers())
        accounts = [
            merged.read_file(layers, path, _MAX_ACCOUNTS).decode(errors="replace")
            for path in ("etc/passwd", "etc/group")
        ]
        return identify(user, *accounts)

    def _environment_binds(self) -> tuple[Bind, ...]:
        names = ("resolv.conf", "hostname", "hosts")
        return tuple(Bind(self._files.environment_file(name), f"/etc/{name}") for name in names)

    def _write_environment_files(self, hostname: str) -> None:
        shared = self._container.options.network is Network.HOST
        contents = {
            "hostname": f"{hostname}\n",
            "hosts": _hosts(hostname),
            "resolv.conf": _host_file("/etc/resolv.conf") if shared else "",
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


def _hosts(hostname: str) -> str:
    return (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        f"127.0.1.1\t{hostname}\n"
    )


def _host_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


class _Journal:
    """Writes what the monitor learns into the store."""

    def __init__(self, paths: Paths, state_: state.State, container: state.Container, place: _Place) -> None:
        self._paths = paths
        self._state = state_
        self._container = container
        self._place = place

    def started(self, running: monitor.Running) -> None:
        self._state.set_running(
            self._container, running.pid, running.start_time, running.cgroups, time.time_ns(), 0
        )

    def exited(self, ending: Ending) -> None:
        if self._container.options.remove:
            remove_container(self._paths, self._state, self._container)
        else:
            self._state.set_exited(self._container, ending.exit_code, ending.oom_killed, time.time_ns())
        self._place.leave()
