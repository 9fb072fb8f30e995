"""The store's memory: one SQLite database of images, tags and containers.

Many processes use it at once (WAL); every change is one transaction. Here: the schema, and rows to values and back.
Not here: files, and what a change means. Times are nanoseconds since the epoch, 0 for never.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from kernel_sandbox.errors import Conflict, NotFound, StoreError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.idmap import RANGES
from kernel_sandbox.spec.options import ContainerOptions

_VERSION = 1
_BUSY_SECONDS = 30
_SCHEMA = """
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,
    manifest_size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    size INTEGER NOT NULL,
    fingerprint TEXT NOT NULL
);
CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    blob TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX layer_users ON image_layers(chain_id);
CREATE TABLE tags (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL REFERENCES images(id),
    slot INTEGER NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    options BLOB NOT NULL,
    status TEXT NOT NULL,
    exit_code INTEGER NOT NULL DEFAULT 0,
    oom_killed INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    started INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    pid INTEGER NOT NULL DEFAULT 0,
    pid_start INTEGER NOT NULL DEFAULT 0,
    cgroups TEXT NOT NULL DEFAULT ''
);
CREATE INDEX containers_by_image ON containers(image);
"""


class Status(StrEnum):
    """A container's state, in Docker's words."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Layer(msgspec.Struct, frozen=True):
    """One layer of an image: its blob, and the chain id under which it is unpacked."""

    blob: Digest
    chain_id: Digest


class Image(msgspec.Struct, frozen=True):
    """An image: ``id`` is its configuration's digest, ``size`` the bytes of its unpacked layers.

    ``fingerprint`` tells from which inputs a bootstrapped image was made; ``layers`` are bottom first.
    """

    id: Digest
    manifest: Digest
    manifest_size: int
    created: int
    size: int
    layers: tuple[Layer, ...]
    fingerprint: str = ""
    tags: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Every blob that makes the image: configuration, manifest, layers."""
        return (self.id, self.manifest, *(layer.blob for layer in self.layers))


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


class State:
    """The database at *path*, made where it is missing. Raises StoreError where it cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection; one that came along through fork(2) is left alone."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = self._connect()
            self._local.pid = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        with self._errors():
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
            return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == _VERSION:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        found = _version(connection)
        if found == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
        if found > _VERSION:
            raise StoreError(f"{self._path} was written by a newer kernel-sandbox: upgrade this one")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StoreError(
                f"cannot use {self._path}: {error}: free some space, make it writable, "
                "or point KERNEL_SANDBOX_HOME elsewhere"
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _rows(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        connection = self._connection
        with self._errors():
            return connection.execute(query, parameters).fetchall()

    # Images

    def add_image(self, image: Image, tags: Iterable[str]) -> None:
        """Record an image (again) and point *tags* at it."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET fingerprint = excluded.fingerprint WHERE excluded.fingerprint != ''",
                (image.id, image.manifest, image.manifest_size, image.created, image.size, image.fingerprint),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?, ?)",
                ((image.id, number, layer.blob, layer.chain_id) for number, layer in enumerate(image.layers)),
            )
            connection.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?)", ((tag, image.id) for tag in tags))

    def tag(self, image: Digest, name: str) -> None:
        """Point a name at an image, away from any other."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (name, image))

    def untag(self, name: str) -> None:
        """Forget a name."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM tags WHERE name = ?", (name,))

    def remove_image(self, image: Digest) -> None:
        """Forget an image and its names. Raises Conflict while a container uses it."""
        try:
            with self._transaction() as connection:
                connection.execute("DELETE FROM images WHERE id = ?", (image,))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"image {image.hex[:12]} is being used by a container: remove the container first"
            ) from error

    def images(self) -> tuple[Image, ...]:
        """Every image, newest first."""
        return self._images("SELECT * FROM images ORDER BY created DESC, id")

    def image_by_tag(self, name: str) -> Image | None:
        """The image that a canonical reference names, if any."""
        found = self._images("SELECT images.* FROM images JOIN tags ON tags.image = id WHERE tags.name = ?", name)
        return found[0] if found else None

    def images_by_id(self, prefix: str) -> tuple[Image, ...]:
        """The images whose id's hexadecimal part starts so."""
        return self._images("SELECT * FROM images WHERE substr(id, 8, ?) = ?", len(prefix), prefix)

    def _images(self, query: str, *parameters: object) -> tuple[Image, ...]:
        rows = self._rows(query, *parameters)
        if len(rows) == 1:
            condition, values = " WHERE image = ?", [rows[0]["id"]]
        else:
            condition, values = "", []
        layers = _grouped(self._rows(f"SELECT * FROM image_layers{condition} ORDER BY position", *values))  # noqa: S608
        tags = _grouped(self._rows(f"SELECT * FROM tags{condition} ORDER BY name", *values))  # noqa: S608
        return tuple(_image(row, layers.get(row["id"], []), tags.get(row["id"], [])) for row in rows)

    def unused_layers(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Those of *layers* whose chain id no image has any more."""
        return tuple(
            layer
            for layer in layers
            if not self._rows("SELECT 1 FROM image_layers WHERE chain_id = ? LIMIT 1", layer.chain_id)
        )

    # Containers

    def add_container(self, id_: str, name: str, image: Digest, created: int, options: ContainerOptions) -> Container:
        """Record a new container. Raises Conflict for a name in use and NotFound for an image gone meanwhile."""
        try:
            with self._transaction() as connection:
                slot = _free_slot(connection)
                connection.execute(
                    "INSERT INTO containers (id, name, image, slot, created, options, status) VALUES (?,?,?,?,?,?,?)",
                    (id_, name, image, slot, created, msgspec.json.encode(options), Status.CREATED),
                )
        except sqlite3.IntegrityError as error:
            raise self._cannot_add(name, image) from error
        return Container(id_, name, image, slot, created, options, Status.CREATED)

    def _cannot_add(self, name: str, image: Digest) -> Conflict | NotFound:
        holders = self._rows("SELECT id FROM containers WHERE name = ?", name)
        if holders:
            return Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holders[0]["id"]}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return NotFound(f"No such image: {image}")

    def set_running(self, id_: str, pid: int, pid_start: int, cgroups: tuple[str, ...], started: int) -> None:
        """Record that a container's process has started."""
        self._update(
            id_,
            status=Status.RUNNING, pid=pid, pid_start=pid_start, cgroups="\n".join(cgroups),
            started=started, finished=0, exit_code=0, oom_killed=0, error="",
        )  # fmt: skip

    def set_exited(self, id_: str, exit_code: int, oom_killed: bool, finished: int) -> None:
        """Record that it has ended."""
        self._update(
            id_,
            status=Status.EXITED, exit_code=exit_code, oom_killed=int(oom_killed),
            finished=finished, pid=0, pid_start=0, cgroups="",
        )  # fmt: skip

    def set_failed(self, id_: str, exit_code: int, error: str) -> None:
        """Record that it could not be started; its status stays what it was."""
        self._update(id_, exit_code=exit_code, error=error)

    def _update(self, id_: str, **values: object) -> None:
        assignments = ", ".join(f"{column} = ?" for column in values)
        with self._transaction() as connection:
            changed = connection.execute(
                f"UPDATE containers SET {assignments} WHERE id = ?",  # noqa: S608  our own column names
                (*values.values(), id_),
            )
            if changed.rowcount == 0:
                raise NotFound(f"No such container: {id_}")

    def remove_container(self, id_: str) -> None:
        """Forget a container."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM containers WHERE id = ?", (id_,))

    def containers(self) -> tuple[Container, ...]:
        """Every container, newest first."""
        return tuple(map(_container, self._rows("SELECT * FROM containers ORDER BY created DESC")))

    def container(self, id_: str) -> Container | None:
        """The container of this full id, if there is one."""
        rows = self._rows("SELECT * FROM containers WHERE id = ?", id_)
        return _container(rows[0]) if rows else None

    def find_containers(self, key: str) -> tuple[Container, ...]:
        """By full id or name, else by the start of an id: as Docker looks a container up."""
        exact = self._rows("SELECT * FROM containers WHERE id = ? OR name = ?", key, key.removeprefix("/"))
        rows = exact or self._rows("SELECT * FROM containers WHERE substr(id, 1, ?) = ?", len(key), key)
        return tuple(map(_container, rows))

    def containers_of_image(self, image: Digest) -> tuple[Container, ...]:
        """The containers that were made from an image."""
        return tuple(map(_container, self._rows("SELECT * FROM containers WHERE image = ?", image)))


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _free_slot(connection: sqlite3.Connection) -> int:
    taken = {row["slot"] for row in connection.execute("SELECT slot FROM containers")}
    for slot in range(RANGES):
        if slot not in taken:
            return slot
    raise Conflict(f"there are {RANGES} containers already: remove some")


def _grouped(rows: Iterable[sqlite3.Row]) -> dict[str, list[sqlite3.Row]]:
    groups: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        groups.setdefault(row["image"], []).append(row)
    return groups


def _image(row: sqlite3.Row, layers: list[sqlite3.Row], tags: list[sqlite3.Row]) -> Image:
    return Image(
        id=Digest(row["id"]),
        manifest=Digest(row["manifest"]),
        manifest_size=row["manifest_size"],
        created=row["created"],
        size=row["size"],
        layers=tuple(Layer(Digest(layer["blob"]), Digest(layer["chain_id"])) for layer in layers),
        fingerprint=row["fingerprint"],
        tags=tuple(tag["name"] for tag in tags),
    )


def _container(row: sqlite3.Row) -> Container:
    values: dict[str, Any] = dict(row)
    values["image"] = Digest(row["image"])
    values["options"] = msgspec.json.decode(row["options"], type=ContainerOptions)
    values["status"] = Status(row["status"])
    values["oom_killed"] = bool(row["oom_killed"])
    values["cgroups"] = tuple(row["cgroups"].split("\n")) if row["cgroups"] else ()
    return Container(**values)
