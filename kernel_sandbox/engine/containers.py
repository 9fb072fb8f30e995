"""Containers while they live: started, attached to, executed in, paused, ended, removed; committed and exported."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import tasks
from kernel_sandbox.engine.records import ContainerRecords
from kernel_sandbox.errors import Conflict, ContainerStartError, HostError, NotFound, StoreError, UsageError
from kernel_sandbox.runtime import ids, interpreter
from kernel_sandbox.runtime.frames import Ending, Execution, Frame, Kind
from kernel_sandbox.runtime.launcher import Launcher, WarmLauncher, call
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.storage.state import Container, Status

if TYPE_CHECKING:
    from kernel_sandbox.engine.attachment import Attachment
    from kernel_sandbox.engine.logs import Selection
    from kernel_sandbox.spec.execution import ExecOptions
    from kernel_sandbox.spec.options import ContainerOptions, Limits, RestartPolicy
    from kernel_sandbox.spec.runtime import ConsoleSize, Process
    from kernel_sandbox.storage.diff import Change
    from kernel_sandbox.storage.images import Image

_SECONDS_TO_DIE = 30.0
_SECONDS_TO_STOP = 10


class Containers(ContainerRecords):
    """Docker's verbs on the containers of one store."""

    def start(self, key: str, foreground: bool = False, console: ConsoleSize | None = None) -> Attachment:
        """Start a container. In the foreground its output comes through what is returned, and it ends with that.

        *console* is the size of the caller's terminal. Raises ContainerStartError with ``run``'s exit code where the
        command cannot be started.
        """
        container = self.find(key)
        if container.status is Status.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        if container.is_active:
            raise Conflict(f"container {container.name} is running already")
        task = tasks.Supervision(self._paths.home, self._paths.run, container.id, foreground, console)
        ours, theirs = socket.socketpair()
        attachment = self._attachment(container, ours)
        try:
            with theirs, self._launcher_for(container) as launcher:
                launcher.spawn("supervise", tasks.encode(task), (theirs.fileno(),))
            attachment.await_start()
        except BaseException:
            attachment.close()
            raise
        return attachment

    @contextlib.contextmanager
    def _launcher_for(self, container: Container) -> Iterator[Launcher]:
        """The usual one; but root inside that may be the machine's root owns the interpreter's file (CVE-2019-5736)."""
        if not (container.options.may_have_host_ids and ids.is_privileged()) or interpreter.is_exposed():
            yield self._launcher
            return
        launcher = WarmLauncher(tasks.HELPER, sealed=True)
        try:
            yield launcher
        finally:
            launcher.close()

    def _attachment(self, container: Container, connection: socket.socket) -> Attachment:
        from kernel_sandbox.engine.attachment import Attachment

        path = self._paths.container(container.id).socket
        return Attachment(connection, path, lambda: self._settled_by_id(container.id))

    def _settled_by_id(self, id_: str) -> None:
        """Make the recorded state of a container true whose monitor was lost."""
        if found := self._state.container(id_):
            self._settled(found)

    def run(self, wanted: ContainerOptions) -> tuple[Ending, bytes, bytes]:
        """Create and start a container in the foreground and wait: how it ended, and what it wrote."""
        with self.start(self.create(wanted).id, foreground=True) as attachment:
            written: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
            for frame in attachment.output():
                written[frame.kind] += frame.payload
            assert attachment.ending is not None
            return attachment.ending, bytes(written[1]), bytes(written[2])

    def attach(self, key: str) -> Attachment:
        """A connection to a running container. Raises Conflict where it does not run."""
        container = self.find(key)
        if container.status is Status.PAUSED:
            raise Conflict("You cannot attach to a paused container, unpause it first")
        if container.status is Status.RESTARTING:
            raise Conflict("You cannot attach to a restarting container, wait until it is running")
        if not container.is_active:
            raise Conflict("You cannot attach to a stopped container, start it first")
        attachment = self._connected(container)
        self._state.tell(container, "attach")
        return attachment

    def _connected(self, container: Container) -> Attachment:
        from kernel_sandbox.runtime import sessions

        try:
            connection = sessions.connect(self._paths.container(container.id).socket)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Conflict(f"container {container.name} is not running") from error
        return self._attachment(container, connection)

    def kill(self, key: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a container's first process; the end that SIGKILL brings is waited for.

        Raises Conflict where it does not run.
        """
        try:
            container = self.find(key)
        except NotFound as error:
            raise NotFound(f"Cannot kill container: {key}: {error}") from error
        if container.status not in (Status.RUNNING, Status.PAUSED):
            raise Conflict(f"Cannot kill container: {key}: Container {container.id} is not running")
        with self._connected(container) as attachment:
            self._signal(container, attachment, number)
            if number == signal.SIGKILL:
                self._await_death(container, attachment)

    def _signal(self, container: Container, attachment: Attachment, number: int) -> None:
        """Told first, as what it brings about is told by another process."""
        self._state.tell(container, "kill", signal=str(int(number)))
        attachment.signal(number)

    def stop(self, key: str, seconds: int | None = None) -> None:
        """Send the stop signal, and SIGKILL should the container still run after *seconds*; -1 waits for ever.

        Without *seconds* the container's own patience holds, else Docker's ten.
        """
        container = self.find(key)
        if not container.is_active:
            return
        config = self.config(container)
        if seconds is None:
            seconds = _SECONDS_TO_STOP if config.stop_timeout is None else config.stop_timeout
        from kernel_sandbox.spec.flags import parse_signal

        number = parse_signal(config.stop_signal or "SIGTERM")
        try:
            with self._connected(container) as attachment:
                self._signal(container, attachment, number)
                if not attachment.wait_for_end(None if seconds < 0 else seconds):
                    self._kill_and_wait(container, attachment)
            self._state.tell(container, "stop")
        except Conflict:
            return

    def restart(self, key: str, seconds: int | None = None) -> None:
        """Stop a container if it runs, as ``stop`` does, and start it in the background."""
        container = self.find(key)
        self.stop(container.id, seconds)
        with contextlib.suppress(Conflict):
            self.start(container.id).close()
        self._state.tell(container, "restart")

    def pause(self, key: str) -> None:
        """Stop all processes of a container where they are. Raises Conflict where it does not run."""
        self._ask_running(key, Kind.PAUSE)

    def unpause(self, key: str) -> None:
        """Let a paused container go on. Raises Conflict where it is not paused."""
        self._ask_running(key, Kind.UNPAUSE)

    def _ask_running(self, key: str, kind: Kind) -> None:
        container = self.find(key)
        if kind is Kind.PAUSE and container.status is Status.PAUSED:
            raise Conflict(f"Container {container.id} is already paused")
        if kind is Kind.UNPAUSE and container.status is not Status.PAUSED:
            raise Conflict(f"Container {container.id} is not paused")
        self._check_active(container)
        with self._connected(container) as attachment:
            attachment.ask(kind)

    def execute(self, key: str, wanted: ExecOptions, console: ConsoleSize | None = None) -> Attachment:
        """Start one more process in a running container; what is returned is about that process.

        Raises Conflict where the container does not run, ContainerStartError where the command cannot be started.
        """
        container = self.find(key)
        if container.status is Status.PAUSED:
            raise Conflict(f"Container {key} is paused, unpause the container before exec")
        if container.status is Status.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        self._check_active(container)
        process = msgspec.structs.replace(self._execution(container, wanted), console_size=console)
        request = Execution(os.urandom(32).hex(), process, wanted.interactive, wanted.detach)
        attachment = self._connected(container)
        try:
            attachment.execute(request)
            attachment.await_start()
        except BaseException as error:
            attachment.close()
            if isinstance(error, HostError):
                self._check_active(self.find(container.id))  # it may have ended just then
            raise
        return attachment

    def _check_active(self, container: Container) -> None:
        if not container.is_active:
            raise Conflict(f"Container {container.id} is not running")

    def _execution(self, container: Container, wanted: ExecOptions) -> Process:
        if wanted.workdir and not wanted.workdir.startswith("/"):
            raise ContainerStartError(f"the working directory '{wanted.workdir}' is invalid: write an absolute path")
        from kernel_sandbox.spec import execution, runtime

        files = self._paths.container(container.id)
        with open(files.config, "rb") as file:
            spec = runtime.decode(file.read())
        identity = None
        if wanted.user:
            from kernel_sandbox.engine import accounts
            from kernel_sandbox.spec import bundle

            try:
                identity = accounts.identity((files.upper, *self._layers(container)), wanted.user)
                bundle.check_ids(identity, spec.linux.uid_mappings, spec.linux.gid_mappings)
            except UsageError as error:
                raise ContainerStartError(str(error)) from error
        return execution.process(spec.process, wanted, identity)

    def update(self, key: str, limits: Limits, restart: RestartPolicy | None = None) -> None:
        """Give a container other limits and another policy; at once where it runs. Raises UsageError, HostError."""
        from kernel_sandbox.spec import resources, runtime

        container = self.find(key)
        options = msgspec.structs.replace(
            container.options, limits=limits, restart=restart or container.options.restart
        )
        if restart and restart.name != "no" and options.remove:
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
        if container.is_active and limits != container.options.limits:
            with self._connected(container) as attachment:
                attachment.ask(Kind.LIMIT, msgspec.msgpack.encode(resources.resources(limits) or runtime.Resources()))
        self._state.set_options(container, options)

    def wait(self, key: str) -> int:
        """Wait for a container's end; returns its exit code."""
        container = self.find(key)
        if container.is_active:
            with contextlib.suppress(Conflict), self._connected(container) as attachment:
                return attachment.end().exit_code
        return self.find(container.id).exit_code

    def remove(self, key: str, force: bool = False, volumes: bool = False) -> None:
        """Remove a container and what it wrote; with *force* a running one is killed first.

        With *volumes* its anonymous ones go too. On a full disk the store's reserve makes room for that.
        """
        try:
            self._remove(key, force, volumes)
        except StoreError:
            if not self._paths.release_reserve():
                raise
            self._remove(key, force, volumes)
            self._paths.ensure_reserve()

    def _remove(self, key: str, force: bool, volumes: bool) -> None:
        container = self.find(key)
        if container.is_active:
            if not force:
                how = "Unpause and then stop" if container.status is Status.PAUSED else "Stop"
                aim = "the container before attempting removal or force remove"
                raise Conflict(f"You cannot remove a {container.status.value} container {container.id}. {how} {aim}")
            with contextlib.suppress(Conflict), self._connected(container) as attachment:
                self._kill_and_wait(container, attachment)
            if container.options.remove:
                return
        task = tasks.Removal(self._paths.home, self._paths.run, container.id, volumes)
        call(self._launcher, "remove", tasks.encode(task))
        if not self._state.images.of_container(container.image):
            self._images.collect()

    def _kill_and_wait(self, container: Container, attachment: Attachment) -> None:
        attachment.signal(signal.SIGKILL)
        self._await_death(container, attachment)

    def _await_death(self, container: Container, attachment: Attachment) -> None:
        if not attachment.wait_for_end(_SECONDS_TO_DIE):
            raise HostError(
                f"container {container.name} was killed and has not ended: its monitor does not answer, kill that, "
                f"the parent of process {container.pid}"
            )

    def logs(self, key: str, wanted: Selection | None = None) -> Iterator[Frame]:
        """What a container has written, on its two streams. Raises Conflict where it keeps no log."""
        from kernel_sandbox.engine import logs

        wanted = wanted or logs.EVERYTHING
        container = self.find(key)
        if container.options.log_driver == "none":
            raise Conflict("configured logging driver does not support reading")
        if wanted.details:
            config = self.config(container)
            chosen = logs.attributes(container.options.log_options, config.labels, config.env)
            wanted = msgspec.structs.replace(wanted, attributes=chosen)
        files = self._paths.container(container.id)
        return logs.read(files.log, wanted, files.socket if container.is_active else None)

    def commit(
        self,
        key: str,
        name: str | None = None,
        message: str = "",
        author: str = "",
        changes: Iterable[str] = (),
        pauses: bool = False,
    ) -> Image:
        """Make an image of what a container has changed, running or not; with *pauses* it holds still meanwhile."""
        from kernel_sandbox.spec.derivation import Origin

        container = self.find(key)
        config = self.config(container)
        origin = Origin(" ".join(config.cmd), message, author)
        if changes:
            from kernel_sandbox.spec.changes import committed

            config = committed(config, changes)
        with self._held_still(container) if pauses else contextlib.nullcontext():
            base = self._images.of_container(container)
            image = self._images.commit(base, tasks.PackDiff(*self._written(container)), config, origin, name)
            self._state.tell(container, "commit", comment=message, imageID=str(image.id))
        return image

    @contextlib.contextmanager
    def _held_still(self, container: Container) -> Iterator[None]:
        """Pause a container that runs. One that does not, or ends just then, is left as it is."""
        with contextlib.ExitStack() as stack:
            if container.status is Status.RUNNING:
                with contextlib.suppress(Conflict):
                    self.pause(container.id)
                    stack.enter_context(contextlib.suppress(Conflict, NotFound))
                    stack.callback(self.unpause, container.id)
            yield

    def export(self, key: str, target: int) -> None:
        """Write a container's whole root filesystem as a tar archive to the descriptor *target*."""
        with self._images.adding():  # nothing is collected meanwhile, whoever removes the container and its image
            container = self.find(key)
            task = tasks.PackRootfs(*self._written(container), self._layers(container))
            call(self._launcher, "pack_rootfs", tasks.encode(task), (target,))

    def diff(self, key: str) -> tuple[Change, ...]:
        """What a container has added, changed and deleted in its image's files."""
        from kernel_sandbox.storage.diff import Change

        container = self.find(key)
        task = tasks.Diff(*self._written(container), self._layers(container))
        answer = call(self._launcher, "diff", tasks.encode(task))
        return msgspec.msgpack.decode(answer, type=decodable(tuple[Change, ...]))

    def copy_from(
        self, key: str, path: str, target: str | int, follows_link: bool = False, keeps_owners: bool = False
    ) -> int:
        """Copy what a container has at *path*, running or not, to a path of this machine's, by the rules of ``cp``.

        A descriptor as *target* gets a tar archive of it. Returns the bytes that were copied to a path.
        """
        from kernel_sandbox.engine import copying

        container = self.find(key)
        task = tasks.CopyOut(*self._part(container, key, path), follows_link, isinstance(target, int))
        copied = 0
        if isinstance(target, int):
            call(self._launcher, "copy_out", tasks.encode(task), (target,))
        else:
            copied = copying.to_host(self._launcher, task, target, keeps_owners)
        self._state.tell(container, "archive-path")
        return copied

    def copy_to(
        self, key: str, source: str | int, path: str, follows_link: bool = False, keeps_owners: bool = False
    ) -> int:
        """Copy a path of this machine's to *path* in a container, running or not, by the rules of ``cp``.

        A descriptor as *source* yields a tar archive, compressed or not, of what is to be in the directory *path*.
        Returns the bytes that were copied from a path.
        """
        from kernel_sandbox.engine import copying

        if isinstance(source, str):
            copying.check_source(source, follows_link)
        container = self.find(key)
        task = tasks.CopyIn(*self._part(container, key, path), keeps_owners, isinstance(source, int))
        copied = 0
        if isinstance(source, int):
            call(self._launcher, "copy_in", tasks.encode(task), (source,))
        else:
            copied = copying.from_host(self._launcher, task, source, follows_link)
        self._state.tell(container, "extract-to-dir")
        return copied

    def _written(self, container: Container) -> tuple[str, str, str, bool, int | None]:
        """What a job on all that a container has written needs to know of it."""
        return self._paths.home, self._paths.run, container.id, container.started > 0, container.options.storage_size

    def _part(self, container: Container, key: str, path: str) -> tuple[str, str, str, str, tuple[str, ...], bytes]:
        """What the two jobs of ``cp`` need to know of a container."""
        return self._paths.home, self._paths.run, container.id, key, self._layers(container), os.fsencode(path)

    def _layers(self, container: Container) -> tuple[str, ...]:
        return self._images.layer_directories(self._images.of_container(container))
