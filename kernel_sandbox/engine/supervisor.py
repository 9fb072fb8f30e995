"""Starting one container and staying with it: the engine's part of a monitor's life.

Runs as a job in a process of its own. What a start needs is ``preparation``'s to make; the runtime does the rest and
tells the journal, which is here and writes the store.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

import msgspec

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.preparation import Preparation
from kernel_sandbox.engine.removal import end_processes, remove_container
from kernel_sandbox.engine.tasks import Supervision
from kernel_sandbox.errors import Conflict, HostError, NotFound, SandboxError, StoreError
from kernel_sandbox.runtime import log, monitor, process, sessions
from kernel_sandbox.runtime.frames import Ending, Execution
from kernel_sandbox.spec import restart, runtime
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage import state
from kernel_sandbox.storage.events import News
from kernel_sandbox.storage.staging import store_errors

_UNREAD_LOG = 1 << 20


def supervise(argument: bytes, descriptors: tuple[int, ...]) -> bytes:
    """The job: run the container to its end. The first descriptor is the client that asked for it."""
    task = msgspec.msgpack.decode(argument, type=decodable(Supervision))
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
        self._preparation = Preparation(paths, self._state, found)
        self._restarts = 0
        self._is_attached = False
        self._news: list[News] = []

    def run(self, client: sessions.Session, console: runtime.ConsoleSize | None) -> None:
        """Stay with the container until it has ended for good; the place is left as soon as that is recorded."""
        try:
            prepared, check = self._preparation.make(console)
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
            prepared, check = self._preparation.make(None, is_restart=True)
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
        self._preparation.let_go()
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

    def publish(self) -> bool:
        news, self._news = self._news, []
        if news:
            with contextlib.suppress(StoreError):
                self._state.tell_all(self._container, news)
        return bool(news)

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
