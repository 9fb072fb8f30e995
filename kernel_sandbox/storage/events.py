"""What has happened in the store, for ``events``: the last so many of them, in their order."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping

import msgspec

from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.storage.database import Database

_KEPT = 4096


class Event(msgspec.Struct, frozen=True):
    """One event: Docker's ``type`` (container, image, volume), ``action``, and the object's id or name."""

    id: int
    time: int
    type: str
    action: str
    actor: str
    attributes: Mapping[str, str]


class News(msgspec.Struct, frozen=True):
    """Something that has happened at a time to an object that is known, to be recorded a little later."""

    time: int
    action: str
    attributes: Mapping[str, str]


def insert(
    connection: sqlite3.Connection, type_: str, action: str, actor: str, attributes: Mapping[str, str], when: int = 0
) -> None:
    """Add an event to a transaction, of just now unless said otherwise; the oldest goes."""
    cursor = connection.execute(
        "INSERT INTO events (time, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)",
        (when or time.time_ns(), type_, action, actor, msgspec.json.encode(attributes).decode()),
    )
    connection.execute("DELETE FROM events WHERE id <= ?", ((cursor.lastrowid or 0) - _KEPT,))


class EventLog:
    """The events of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, type_: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """Add an event that is no part of another change."""
        with self._database.transaction() as connection:
            insert(connection, type_, action, actor, attributes)

    def after(self, id_: int) -> tuple[Event, ...]:
        """The events after the one numbered *id_*, oldest first; all for 0."""
        rows = self._database.rows("SELECT * FROM events WHERE id > ? ORDER BY id", id_)
        return tuple(_event(row) for row in rows)

    def last(self) -> int:
        """The newest event's number, 0 without any."""
        rows = self._database.rows("SELECT max(id) AS last FROM events")
        return int(rows[0]["last"] or 0)


def _event(row: sqlite3.Row) -> Event:
    attributes = msgspec.json.decode(row["attributes"], type=decodable(dict[str, str]))
    return Event(row["id"], row["time"], row["type"], row["action"], row["actor"], attributes)
