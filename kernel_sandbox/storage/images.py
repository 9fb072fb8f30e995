"""The store's images, their names and where their blobs are known from: rows to values and back.

Reference counting is the database's: an image's layers are rows, and a container's image cannot be forgotten. One that
is removed all the same is hidden: only the container finds it, and it goes with the last of them. Not here: files,
events, and what a change means. Times are nanoseconds since the epoch.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

import msgspec

from kernel_sandbox.errors import Conflict
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_MANIFEST, Descriptor
from kernel_sandbox.storage.database import Database

UNKNOWN_SIZE = -1
NEVER = -(1 << 63)
"""When an image was created that does not say: the least that SQLite has an integer for."""


class Layer(msgspec.Struct, frozen=True):
    """One layer of an image: its blob, the chain id under which it is unpacked, and the bytes of its files.

    The size is ``UNKNOWN_SIZE`` for images that an older version recorded.
    """

    blob: Digest
    chain_id: Digest
    size: int = UNKNOWN_SIZE


class Image(msgspec.Struct, frozen=True):
    """An image: ``id`` is its configuration's digest, ``size`` the bytes of its unpacked layers.

    ``fingerprint`` tells from which inputs a bootstrapped image was made; ``parent`` is the image it was committed
    from; ``layers`` are bottom first. ``tags`` and ``digests`` are canonical references: the names it has here, and
    those that registries know it by. ``tagged`` is when it last got a name, 0 for never.
    """

    id: Digest
    manifest: Digest
    manifest_size: int
    created: int
    size: int
    layers: tuple[Layer, ...]
    fingerprint: str = ""
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    media_type: str = OCI_MANIFEST
    parent: str = ""
    tagged: int = 0

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Every blob that makes the image: configuration, manifest, layers."""
        return (self.id, self.manifest, *(layer.blob for layer in self.layers))

    @property
    def descriptor(self) -> Descriptor:
        """What names the image's manifest."""
        return Descriptor(media_type=self.media_type, digest=self.manifest, size=self.manifest_size)


class ImageRecords:
    """The images of one store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, image: Image) -> None:
        """Record an image with its names, taken from any other. One that is recorded keeps its manifest, and shows."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO images (id, manifest, manifest_size, created, size, fingerprint, media_type, parent) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET removed = 0, "
                "fingerprint = iif(excluded.fingerprint != '', excluded.fingerprint, fingerprint)",
                (image.id, image.manifest, image.manifest_size, image.created, image.size, image.fingerprint,
                 image.media_type, image.parent),
            )  # fmt: skip
            connection.executemany(
                "INSERT OR IGNORE INTO image_layers (image, position, blob, chain_id, size) VALUES (?, ?, ?, ?, ?)",
                ((image.id, at, layer.blob, layer.chain_id, layer.size) for at, layer in enumerate(image.layers)),
            )
            for name in image.tags:
                _tag(connection, image.id, name)
            for name in image.digests:
                _add_digest(connection, image.id, name)

    def tag(self, image: Digest, name: str) -> None:
        """Point a name at an image, away from any other."""
        with self._database.transaction() as connection:
            _tag(connection, image, name)

    def untag(self, name: str) -> None:
        """Forget a name, be it a tag or a registry's digest."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM tags WHERE name = ?", (name,))
            connection.execute("DELETE FROM digests WHERE name = ?", (name,))

    def add_digest(self, image: Digest, name: str) -> None:
        """Record that a registry knows an image, if it is still here, by *name*, a reference with a digest."""
        with self._database.transaction() as connection:
            _add_digest(connection, image, name)

    def remove(self, image: Digest) -> None:
        """Forget an image and its names. Raises Conflict while a container uses it."""
        try:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM images WHERE id = ?", (image,))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"image {image.short} is being used by a container: remove the container first") from error

    def hide(self, image: Digest) -> None:
        """Forget an image that containers use: its names at once, itself with the last of these."""
        with self._database.transaction() as connection:
            for table in ("tags", "digests"):
                connection.execute(f"DELETE FROM {table} WHERE image = ?", (image,))  # noqa: S608  our own table names
            connection.execute("UPDATE images SET removed = 1 WHERE id = ?", (image,))

    def all(self, hidden: bool = False) -> tuple[Image, ...]:
        """Every image, newest first; *hidden* ones, too."""
        return self._images("SELECT * FROM images WHERE removed <= ? ORDER BY created DESC, id", hidden)

    def by_name(self, name: str) -> Image | None:
        """The image that a canonical reference, with a tag or with a digest, names, if any."""
        table = "digests" if "@" in name else "tags"
        found = self._images(
            f"SELECT images.* FROM images JOIN {table} ON {table}.image = id WHERE {table}.name = ?",  # noqa: S608
            name,
        )
        return found[0] if found else None

    def by_id(self, prefix: str) -> tuple[Image, ...]:
        """The images whose id's hexadecimal part starts so."""
        return self._images("SELECT * FROM images WHERE substr(id, 8, ?) = ? AND NOT removed", len(prefix), prefix)

    def of_container(self, image: Digest) -> Image | None:
        """The image that a container was made from, hidden or not; None for a container that is gone, too."""
        found = self._images("SELECT * FROM images WHERE id = ?", image)
        return found[0] if found else None

    def children(self, image: Digest) -> tuple[Digest, ...]:
        """The ids of the images that were committed from an image."""
        rows = self._database.rows("SELECT id FROM images WHERE parent = ? AND NOT removed", image)
        return tuple(Digest(row["id"]) for row in rows)

    def _images(self, query: str, *parameters: object) -> tuple[Image, ...]:
        rows = self._database.rows(query, *parameters)
        if len(rows) == 1:
            condition, values = " WHERE image = ?", [rows[0]["id"]]
        else:
            condition, values = "", []
        layers, tags, digests = (
            _grouped(self._database.rows(f"SELECT * FROM {table}{condition} ORDER BY {order}", *values))  # noqa: S608
            for table, order in (("image_layers", "position"), ("tags", "name"), ("digests", "name"))
        )
        return tuple(
            _image(row, layers.get(row["id"], []), tags.get(row["id"], []), digests.get(row["id"], [])) for row in rows
        )

    def layer_size(self, chain_id: Digest, blob: Digest) -> int:
        """The bytes of a layer's files, as an image that has it in this blob has recorded them, or ``UNKNOWN_SIZE``."""
        query = "SELECT max(size) AS size FROM image_layers WHERE chain_id = ? AND blob = ?"
        rows = self._database.rows(query, chain_id, blob)
        return UNKNOWN_SIZE if rows[0]["size"] is None else int(rows[0]["size"])

    def unused_layers(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Those of *layers* whose chain id no image has any more."""
        return tuple(
            layer
            for layer in layers
            if not self._database.rows("SELECT 1 FROM image_layers WHERE chain_id = ? LIMIT 1", layer.chain_id)
        )

    def note_source(self, blob: Digest, repository: str) -> None:
        """Record that a repository, ``domain/path``, has a blob, so that a push beside it need not send it again."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (blob, repository, time.time_ns()))

    def sources(self, blob: Digest) -> tuple[str, ...]:
        """The repositories that were seen to have a blob, the last one first."""
        rows = self._database.rows("SELECT repository FROM sources WHERE blob = ? ORDER BY seen DESC", blob)
        return tuple(row["repository"] for row in rows)

    def forget_sources(self, kept: Iterable[Digest]) -> None:
        """Forget where blobs are known from, but for those *kept*."""
        known = {row["blob"] for row in self._database.rows("SELECT DISTINCT blob FROM sources")}
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM sources WHERE blob = ?", ((blob,) for blob in known - set(kept)))


def _tag(connection: sqlite3.Connection, image: Digest, name: str) -> None:
    connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (name, image))
    connection.execute("UPDATE images SET tagged = ? WHERE id = ?", (time.time_ns(), image))


def _add_digest(connection: sqlite3.Connection, image: Digest, name: str) -> None:
    connection.execute("INSERT OR REPLACE INTO digests SELECT ?, id FROM images WHERE id = ?", (name, image))


def _grouped(rows: Iterable[sqlite3.Row]) -> dict[str, list[sqlite3.Row]]:
    groups: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        groups.setdefault(row["image"], []).append(row)
    return groups


def _image(row: sqlite3.Row, layers: list[sqlite3.Row], tags: list[sqlite3.Row], digests: list[sqlite3.Row]) -> Image:
    return Image(
        id=Digest(row["id"]),
        manifest=Digest(row["manifest"]),
        manifest_size=row["manifest_size"],
        created=row["created"],
        size=row["size"],
        layers=tuple(Layer(Digest(each["blob"]), Digest(each["chain_id"]), each["size"]) for each in layers),
        fingerprint=row["fingerprint"],
        tags=tuple(each["name"] for each in tags),
        digests=tuple(each["name"] for each in digests),
        media_type=row["media_type"],
        parent=row["parent"],
        tagged=row["tagged"],
    )
