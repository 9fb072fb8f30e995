"""The store's volumes: directories that outlive the containers which use them. Here: their records."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from kernel_sandbox.errors import Conflict, NotFound
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.options import VolumeMount
from kernel_sandbox.storage import events
from kernel_sandbox.storage.database import Database


class Volume(msgspec.Struct, frozen=True):
    """A volume; one without a name of the user's is ``anonymous``. ``containers`` are the ids of its users."""

    name: str
    created: int
    anonymous: bool
    labels: Mapping[str, str]
    containers: tuple[str, ...] = ()


def use(connection: sqlite3.Connection, container: str, mounts: Iterable[VolumeMount]) -> None:
    """Within a transaction: the container uses these volumes, made where they are missing."""
    for mount in mounts:
        _add(connection, mount.name, mount.anonymous, mount.labels)
        connection.execute("INSERT OR IGNORE INTO volume_users VALUES (?, ?)", (container, mount.name))


def tell_mounted(connection: sqlite3.Connection, container: str, mounts: Iterable[VolumeMount]) -> None:
    """Within a transaction: a container that starts has these volumes."""
    for mount in mounts:
        about = {"container": container, "destination": mount.target, "driver": "local", "propagation": ""}
        writable = str(not mount.readonly).lower()
        events.insert(connection, "volume", "mount", mount.name, {**about, "read/write": writable})


def tell_unmounted(connection: sqlite3.Connection, container: str, mounts: Iterable[VolumeMount]) -> None:
    """Within a transaction: a container that has ended had these volumes."""
    for mount in mounts:
        events.insert(connection, "volume", "unmount", mount.name, {"container": container, "driver": "local"})


def _add(connection: sqlite3.Connection, name: str, anonymous: bool, labels: Mapping[str, str]) -> None:
    made = connection.execute(
        "INSERT OR IGNORE INTO volumes VALUES (?, ?, ?, ?)",
        (name, time.time_ns(), int(anonymous), msgspec.json.encode(labels).decode()),
    )
    if made.rowcount:
        events.insert(connection, "volume", "create", name, {"driver": "local"})


class VolumeRecords:
    """The volumes of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, anonymous: bool, labels: Mapping[str, str], make: Callable[[], None]) -> None:
        """Record a volume and *make* its files; one that is there already stays as it is."""
        with self._database.transaction() as connection:
            _add(connection, name, anonymous, labels)
            make()

    def all(self) -> tuple[Volume, ...]:
        """Every volume, by name."""
        users: dict[str, list[str]] = {}
        for row in self._database.rows("SELECT * FROM volume_users ORDER BY container"):
            users.setdefault(row["volume"], []).append(row["container"])
        rows = self._database.rows("SELECT * FROM volumes ORDER BY name")
        return tuple(_volume(row, users.get(row["name"], [])) for row in rows)

    def find(self, name: str) -> Volume:
        """The volume of this name. Raises NotFound."""
        rows = self._database.rows("SELECT * FROM volumes WHERE name = ?", name)
        if not rows:
            raise NotFound(f"get {name}: no such volume")
        users = self._database.rows("SELECT container FROM volume_users WHERE volume = ? ORDER BY container", name)
        return _volume(rows[0], [row["container"] for row in users])

    def remove(self, name: str, discard: Callable[[], None]) -> None:
        """Forget a volume, and *discard* its files: nobody meets one without the other.

        Raises Conflict while a container uses it, NotFound.
        """
        try:
            with self._database.transaction() as connection:
                gone = connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
                if not gone.rowcount:
                    raise NotFound(f"get {name}: no such volume")
                events.insert(connection, "volume", "destroy", name, {"driver": "local"})
                discard()
        except sqlite3.IntegrityError as error:
            users = ", ".join(self.find(name).containers)
            raise Conflict(f"remove {name}: volume is in use - [{users}]") from error


def _volume(row: sqlite3.Row, containers: list[str]) -> Volume:
    labels = msgspec.json.decode(row["labels"], type=decodable(dict[str, str]))
    return Volume(row["name"], row["created"], bool(row["anonymous"]), labels, tuple(containers))
