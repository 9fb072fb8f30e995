"""The store's containers: rows to values and back, each change with its event; beside them images, volumes and events.

Not here: files, and what a change means. Times are nanoseconds since the epoch, 0 for never.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from kernel_sandbox.errors import Conflict, NotFound
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.idmap import RANGES
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage import events, images, volumes
from kernel_sandbox.storage.database import Database


class Status(StrEnum):
    """A container's state, in Docker's words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"


class Container(msgspec.Struct, frozen=True):
    """A container; ``slot`` numbers its id range. What only a running one has is 0 or empty otherwise."""

    id: str
    name: str
    image: Digest
    slot: int
    created: int
    options: ContainerOptions
    status: Status
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started: int = 0
    finished: int = 0
    pid: int = 0
    pid_start: int = 0
    cgroups: tuple[str, ...] = ()
    restart_count: int = 0
    health: Health | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has a monitor: it runs, be it paused, or is about to be started again."""
        return self.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


class State:
    """The containers of a store, and its ``images``, ``volumes`` and ``events``.

    Raises StoreError where its database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.images = images.ImageRecords(database)
        self.volumes = volumes.VolumeRecords(database)
        self.events = events.EventLog(database)

    @classmethod
    def at(cls, path: str) -> State:
        """The state that the database at *path* holds."""
        return cls(Database(path))

    def close(self) -> None:
        """Let go of the database until it is next needed."""
        self._database.close()

    def add_container(self, id_: str, name: str, image: Digest, created: int, options: ContainerOptions) -> Container:
        """Record a new container and its volumes. Raises Conflict for a name in use, NotFound for an image gone."""
        try:
            with self._database.transaction() as connection:
                slot = _free_slot(connection)
                connection.execute(
                    "INSERT INTO containers (id, name, image, slot, created, options, status) VALUES (?,?,?,?,?,?,?)",
                    (id_, name, image, slot, created, msgspec.json.encode(options), Status.CREATED),
                )
                volumes.use(connection, id_, options.volumes)
                container = Container(id_, name, image, slot, created, options, Status.CREATED)
                _tell(connection, container, "create")
                return container
        except sqlite3.IntegrityError as error:
            raise self._cannot_add(name, image) from error

    def _cannot_add(self, name: str, image: Digest) -> Conflict | NotFound:
        return self._name_taken(name) or NotFound(f"No such image: {image}")

    def _name_taken(self, name: str) -> Conflict | None:
        holders = self._database.rows("SELECT id FROM containers WHERE name = ?", name)
        if not holders:
            return None
        return Conflict(
            f'Conflict. The container name "/{name}" is already in use by container "{holders[0]["id"]}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )

    def set_running(
        self,
        container: Container,
        pid: int,
        pid_start: int,
        cgroups: tuple[str, ...],
        started: int,
        restarts: int,
        attached: bool,
    ) -> None:
        """Record that a container's process has started, the policy's so many-th time, and a client with it."""
        with self._database.transaction() as connection:
            _change(
                connection, container,
                status=Status.RUNNING, pid=pid, pid_start=pid_start, cgroups="\n".join(cgroups),
                restart_count=restarts, started=started, finished=0, exit_code=0, oom_killed=0, error="", health="",
            )  # fmt: skip
            if attached:
                _tell(connection, container, "attach")
            _tell(connection, container, "start")

    def set_paused(self, container: Container, paused: bool) -> None:
        """Record that it has been paused, or goes on."""
        self._update(container, "pause" if paused else "unpause", status=Status.PAUSED if paused else Status.RUNNING)

    def set_health(self, container: Container, health: Health) -> None:
        """Record a check's outcome; a change of status is an event."""
        before = self.container(container.id)
        is_change = before is None or before.health is None or before.health.status != health.status
        action = f"health_status: {health.status}" if is_change and health.log else ""
        self._update(container, action, health=msgspec.json.encode(health).decode())

    def set_exited(
        self, container: Container, exit_code: int, oom_killed: bool, finished: int, restarting: bool = False
    ) -> None:
        """Record that it has ended, for good or to be started again soon."""
        with self._database.transaction() as connection:
            if oom_killed:
                _tell(connection, container, "oom")
            _change(
                connection, container,
                status=Status.RESTARTING if restarting else Status.EXITED, exit_code=exit_code,
                oom_killed=int(oom_killed), finished=finished, pid=0, pid_start=0, cgroups="",
            )  # fmt: skip
            _tell(connection, container, "die", exitCode=str(exit_code))

    def set_failed(self, container: Container, exit_code: int, error: str) -> None:
        """Record that it could not be started: one that was to be started again has exited, any other is as it was."""
        with self._database.transaction() as connection:
            _change(connection, container, exit_code=exit_code, error=error)
            connection.execute(
                "UPDATE containers SET status = ? WHERE id = ? AND status = ?",
                (Status.EXITED, container.id, Status.RESTARTING),
            )

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name. Raises Conflict for one in use."""
        renamed = msgspec.structs.replace(container, name=name)
        try:
            with self._database.transaction() as connection:
                _change(connection, container, name=name)
                _tell(connection, renamed, "rename", oldName=f"/{container.name}")
        except sqlite3.IntegrityError as error:
            raise self._name_taken(name) or NotFound(f"No such container: {container.name}") from error

    def set_options(self, container: Container, options: ContainerOptions) -> None:
        """Record other options."""
        self._update(container, "update", options=msgspec.json.encode(options))

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Record an event that changes nothing in the record of a container."""
        self.tell_all(container, (events.News(0, action, attributes),))

    def tell_all(self, container: Container, news: Iterable[events.News]) -> None:
        """Record events that have come together."""
        with self._database.transaction() as connection:
            for each in news:
                _tell(connection, container, each.action, each.time, **each.attributes)

    def _update(self, container: Container, action: str, **values: object) -> None:
        with self._database.transaction() as connection:
            _change(connection, container, **values)
            if action:
                _tell(connection, container, action)

    def remove_container(self, container: Container) -> bool:
        """Forget a container, and its image if that is hidden and nobody else's; whether it was."""
        with self._database.transaction() as connection:
            gone = connection.execute("DELETE FROM containers WHERE id = ?", (container.id,))
            if gone.rowcount:
                _tell(connection, container, "destroy")
            unseen = connection.execute(
                "DELETE FROM images WHERE id = ? AND removed "
                "AND NOT EXISTS (SELECT 1 FROM containers WHERE image = images.id)",
                (container.image,),
            )
            return bool(unseen.rowcount)

    def containers(self) -> tuple[Container, ...]:
        """Every container, newest first."""
        return tuple(map(_container, self._database.rows("SELECT * FROM containers ORDER BY created DESC")))

    def container(self, id_: str) -> Container | None:
        """The container of this full id, if there is one."""
        rows = self._database.rows("SELECT * FROM containers WHERE id = ?", id_)
        return _container(rows[0]) if rows else None

    def find_containers(self, key: str) -> tuple[Container, ...]:
        """By full id or name, else by the start of an id: as Docker looks a container up."""
        exact = self._database.rows("SELECT * FROM containers WHERE id = ? OR name = ?", key, key.removeprefix("/"))
        rows = exact or self._database.rows("SELECT * FROM containers WHERE substr(id, 1, ?) = ?", len(key), key)
        return tuple(map(_container, rows))

    def containers_of_image(self, image: Digest) -> tuple[Container, ...]:
        """The containers that were made from an image."""
        return tuple(map(_container, self._database.rows("SELECT * FROM containers WHERE image = ?", image)))


def _change(connection: sqlite3.Connection, container: Container, **values: object) -> None:
    assignments = ", ".join(f"{column} = ?" for column in values)
    changed = connection.execute(
        f"UPDATE containers SET {assignments} WHERE id = ?",  # noqa: S608  our own column names
        (*values.values(), container.id),
    )
    if changed.rowcount == 0:
        raise NotFound(f"No such container: {container.id}")


def _tell(connection: sqlite3.Connection, container: Container, action: str, when: int = 0, **attributes: str) -> None:
    named = connection.execute("SELECT name FROM containers WHERE id = ?", (container.id,)).fetchone()
    name = named["name"] if named else container.name
    about = {**container.options.labels, "image": container.options.image, "name": name, **attributes}
    if action == "start":
        volumes.tell_mounted(connection, container.id, container.options.volumes)
    events.insert(connection, "container", action, container.id, about, when)
    if action == "die":
        volumes.tell_unmounted(connection, container.id, container.options.volumes)


def _free_slot(connection: sqlite3.Connection) -> int:
    taken = {row["slot"] for row in connection.execute("SELECT slot FROM containers")}
    for slot in range(RANGES):
        if slot not in taken:
            return slot
    raise Conflict(f"there are {RANGES} containers already: remove some")


def _container(row: sqlite3.Row) -> Container:
    values: dict[str, Any] = dict(row)
    values["image"] = Digest(row["image"])
    values["options"] = msgspec.json.decode(row["options"], type=decodable(ContainerOptions))
    values["status"] = Status(row["status"])
    values["oom_killed"] = bool(row["oom_killed"])
    values["cgroups"] = tuple(row["cgroups"].split("\n")) if row["cgroups"] else ()
    values["health"] = msgspec.json.decode(row["health"], type=decodable(Health)) if row["health"] else None
    return Container(**values)
