"""Containers: made, started, attached to, ended, listed, committed, exported and removed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator

import msgspec

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.engine.attachment import Attachment
from kernel_sandbox.engine.images import Images
from kernel_sandbox.engine.names import random_name
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, HostError, NotFound, StoreError, UsageError
from kernel_sandbox.runtime import log, sessions
from kernel_sandbox.runtime.frames import Ending, Frame
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import bundle, capabilities, options
from kernel_sandbox.spec import changes as instructions
from kernel_sandbox.spec.derivation import Origin
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.spec.resources import checked_memory
from kernel_sandbox.storage.state import Container, Image, State

_NAME_ATTEMPTS = 20
_SECONDS_TO_DIE = 30.0


class Containers:
    """The containers of one store. Every method takes a container by name, id or the start of an id."""

    def __init__(self, paths: Paths, state: State, launcher: Launcher, images: Images) -> None:
        self._paths = paths
        self._state = state
        self._launcher = launcher
        self._images = images

    def create(self, wanted: ContainerOptions) -> Container:
        """Record a container that can be started. Raises NotFound, Conflict, UsageError."""
        _check(wanted)
        image = self._images.find_to_run(wanted.image)
        self._images.unpack(image)
        bundle.command(wanted, self._images.config(image).config)
        id_ = os.urandom(32).hex()
        if wanted.name:
            return self._state.add_container(id_, wanted.name, image.id, time.time_ns(), wanted)
        return self._create_with_random_name(id_, image, wanted)

    def _create_with_random_name(self, id_: str, image: Image, wanted: ContainerOptions) -> Container:
        for attempt in range(_NAME_ATTEMPTS):
            name = random_name() + (str(attempt) if attempt > 2 else "")
            try:
                return self._state.add_container(id_, name, image.id, time.time_ns(), wanted)
            except Conflict:
                continue
        raise Conflict("cannot find a free name: give one with --name")

    def start(self, key: str, foreground: bool = False) -> Attachment:
        """Start a container. In the foreground its output comes through what is returned, and it ends with that.

        Raises ContainerStartError with ``run``'s exit code where the command cannot be started.
        """
        container = self.find(key)
        if container.is_active:
            raise Conflict(f"container {container.name} is running already")
        task = tasks.Supervision(self._paths.home, self._paths.run, container.id, foreground)
        ours, theirs = socket.socketpair()
        attachment = self._attachment(container, ours)
        try:
            with theirs:
                self._launcher.spawn("supervise", tasks.encode(task), (theirs.fileno(),))
            attachment.await_start()
        except BaseException:
            attachment.close()
            raise
        return attachment

    def _attachment(self, container: Container, connection: socket.socket) -> Attachment:
        path = self._paths.container(container.id).socket
        return Attachment(connection, path, lambda: self._settled_by_id(container.id))

    def _settled_by_id(self, id_: str) -> None:
        """Make the recorded state of a container true whose monitor was lost."""
        found = self._state.container(id_)
        if found is not None:
            self._settled(found)

    def run(self, wanted: ContainerOptions) -> tuple[Ending, bytes, bytes]:
        """Create and start a container in the foreground and wait: how it ended, and what it wrote."""
        with self.start(self.create(wanted).id, foreground=True) as attachment:
            written: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
            for frame in attachment.output():
                written[frame.kind] += frame.payload
            assert attachment.ending is not None
            return attachment.ending, bytes(written[1]), bytes(written[2])

    def find(self, key: str) -> Container:
        """The container that *key* means, its state as it is now. Raises NotFound."""
        found = self._state.find_containers(key) if key else ()
        if not found:
            raise NotFound(f"No such container: {key}")
        if len(found) > 1:
            raise UsageError(f"{key} is the start of {len(found)} containers' ids: write more of it")
        settled = self._settled(found[0])
        if settled is None:
            raise NotFound(f"No such container: {key}")
        return settled

    def list(self, all_: bool = False) -> tuple[Container, ...]:
        """The running containers, or all, newest first."""
        settled = (self._settled(container) for container in self._state.containers())
        return tuple(each for each in settled if each and (all_ or each.is_active))

    def _settled(self, container: Container) -> Container | None:
        """The container with its recorded state made true, should its monitor have been killed."""
        if not container.is_active or locks.is_held(self._paths.container(container.id).lock):
            return container
        try:
            self._call("mend", container)
        except NotFound:
            return None
        return self._state.container(container.id)

    def _call(self, job: str, container: Container) -> bytes:
        task = tasks.OneContainer(self._paths.home, self._paths.run, container.id)
        return call(self._launcher, job, tasks.encode(task))

    def attach(self, key: str) -> Attachment:
        """A connection to a running container. Raises Conflict where it does not run."""
        container = self.find(key)
        if not container.is_active:
            raise Conflict(f"container {container.name} is not running")
        return self._connected(container)

    def _connected(self, container: Container) -> Attachment:
        try:
            connection = sessions.connect(self._paths.container(container.id).socket)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Conflict(f"container {container.name} is not running") from error
        return self._attachment(container, connection)

    def kill(self, key: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a container's first process. Raises Conflict where it does not run."""
        with self.attach(key) as attachment:
            attachment.signal(number)

    def stop(self, key: str, seconds: int = 10) -> None:
        """Send the stop signal, and SIGKILL should the container still run after *seconds*; -1 waits for ever."""
        container = self.find(key)
        if not container.is_active:
            return
        stop_signal = container.options.stop_signal or self.config(container).stop_signal or "SIGTERM"
        try:
            with self._connected(container) as attachment:
                attachment.signal(options.parse_signal(stop_signal))
                if not attachment.wait_for_end(None if seconds < 0 else seconds):
                    self._kill_and_wait(container, attachment)
        except Conflict:
            return

    def wait(self, key: str) -> int:
        """Wait for a container's end; returns its exit code."""
        container = self.find(key)
        try:
            with self.attach(container.id) as attachment:
                return attachment.end().exit_code
        except Conflict:
            return self.find(container.id).exit_code

    def remove(self, key: str, force: bool = False) -> None:
        """Remove a container and what it wrote; with *force* a running one is killed first.

        On a full disk the store's reserve makes room for that.
        """
        try:
            self._remove(key, force)
        except StoreError:
            if not self._paths.release_reserve():
                raise
            self._remove(key, force)
            self._paths.ensure_reserve()

    def _remove(self, key: str, force: bool) -> None:
        container = self.find(key)
        if container.is_active:
            if not force:
                raise Conflict(
                    f"You cannot remove a running container {container.id}. "
                    "Stop the container before attempting removal or force remove"
                )
            with contextlib.suppress(Conflict), self._connected(container) as attachment:
                self._kill_and_wait(container, attachment)
            if container.options.remove:
                return
        self._call("remove", container)

    def _kill_and_wait(self, container: Container, attachment: Attachment) -> None:
        attachment.signal(signal.SIGKILL)
        if not attachment.wait_for_end(_SECONDS_TO_DIE):
            raise HostError(
                f"container {container.name} was killed and has not ended: its monitor does not answer, kill that, "
                f"the parent of process {container.pid}"
            )

    def logs(self, key: str, follow: bool = False) -> Iterator[Frame]:
        """What a container has written; with *follow* also what it goes on to write, until it ends."""
        container = self.find(key)
        if follow and container.is_active:
            with contextlib.suppress(Conflict), self._connected(container) as attachment:
                attachment.follow(sessions.FROM_START)
                yield from attachment.output()
                return
        try:
            with open(self._paths.container(container.id).log, "rb") as file:
                yield from log.read(file)
        except FileNotFoundError:
            return

    def config(self, container: Container) -> ContainerConfig:
        """The image configuration that the container runs with: the image's own under the container's options."""
        base = self._images.config(self._images.find(container.image)).config
        wanted = container.options
        kept = wanted.entrypoint is None
        return msgspec.structs.replace(
            base,
            user=wanted.user or base.user,
            env=instructions.merged_env(base.env, wanted.env),
            entrypoint=base.entrypoint if wanted.entrypoint is None else wanted.entrypoint,
            cmd=wanted.command or (base.cmd if kept else ()),
            working_dir=wanted.workdir or base.working_dir,
            labels={**base.labels, **wanted.labels},
        )

    def command(self, container: Container) -> tuple[str, ...]:
        """The container's full command line."""
        return bundle.command(container.options, self._images.config(self._images.find(container.image)).config)

    def commit(
        self, key: str, name: str | None = None, message: str = "", author: str = "", changes: Iterable[str] = ()
    ) -> Image:
        """Make an image of what a container has changed, running or not."""
        container = self.find(key)
        running_config = self.config(container)
        origin = Origin(" ".join(running_config.cmd), message, author)
        config = instructions.apply(running_config, changes)
        return self._images.commit(self._images.find(container.image), container.id, config, origin, name)

    def export(self, key: str, target: int) -> None:
        """Write a container's whole root filesystem as a tar archive to the descriptor *target*."""
        container = self.find(key)
        layers = self._images.layer_directories(self._images.find(container.image))
        task = tasks.PackRootfs(self._paths.home, self._paths.run, container.id, layers)
        call(self._launcher, "pack_rootfs", tasks.encode(task), (target,))


def _check(wanted: ContainerOptions) -> None:
    """What can be refused before anything is made."""
    texts = (*wanted.command, *(wanted.entrypoint or ()), *wanted.env, wanted.workdir, wanted.user)
    if any("\0" in text for text in texts):
        raise UsageError("a command, a variable and a path hold no zero byte")
    if wanted.name:
        options.checked_name(wanted.name)
    if wanted.hostname:
        options.checked_hostname(wanted.hostname)
    if wanted.limits.memory is not None:
        checked_memory(wanted.limits.memory)
    if wanted.workdir and not wanted.workdir.startswith("/"):
        raise UsageError(f"the working directory '{wanted.workdir}' is invalid, it needs to be an absolute path")
    capabilities.resolve(wanted.cap_add, wanted.cap_drop)
    targets = [bind.target for bind in wanted.binds]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"Duplicate mount point: {target}")
    for bind in wanted.binds:
        if not os.path.exists(bind.source):
            raise UsageError(f"cannot mount {bind.source}: no such file or directory on the host")
