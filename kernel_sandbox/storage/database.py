"""The store's one SQLite database: its schema, its versions, connections and transactions.

Many processes use it at once (WAL); every change is one transaction. Times are nanoseconds since the epoch, 0 for
never. Not here: what the rows mean.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator

from kernel_sandbox.errors import StoreError

_BUSY_SECONDS = 30
_FIRST_VERSION = """
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
_SECOND_VERSION = """
ALTER TABLE containers ADD COLUMN restart_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN health TEXT NOT NULL DEFAULT '';
CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    labels TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE volume_users (
    container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    volume TEXT NOT NULL REFERENCES volumes(name),
    PRIMARY KEY (container, volume)
) WITHOUT ROWID;
CREATE INDEX users_by_volume ON volume_users(volume);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    type TEXT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    attributes TEXT NOT NULL
);
"""
_THIRD_VERSION = """
ALTER TABLE images ADD COLUMN media_type TEXT NOT NULL DEFAULT 'application/vnd.oci.image.manifest.v1+json';
ALTER TABLE images ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN tagged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE image_layers ADD COLUMN size INTEGER NOT NULL DEFAULT -1;
CREATE TABLE digests (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE sources (
    blob TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (blob, repository)
) WITHOUT ROWID;
"""
_FOURTH_VERSION = """
ALTER TABLE images ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
"""
_VERSIONS = (_FIRST_VERSION, _SECOND_VERSION, _THIRD_VERSION, _FOURTH_VERSION)


class Database:
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

    def close(self) -> None:
        """Close this thread's connection; it is opened again when it is next needed."""
        if getattr(self._local, "pid", None) == os.getpid():
            self._local.connection.close()
            self._local.pid = None

    def _connect(self) -> sqlite3.Connection:
        with self._errors():
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
            return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == len(_VERSIONS):
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        found = _version(connection)
        for script in _VERSIONS[found:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(found, len(_VERSIONS))}")
        connection.execute("COMMIT")
        if found > len(_VERSIONS):
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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what is executed on the connection."""
        connection = self._connection
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def rows(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        """What a query finds."""
        connection = self._connection
        with self._errors():
            return connection.execute(query, parameters).fetchall()


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
