"""What no image has any more goes, what somebody is adding stays, and nobody waits for the other."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.store import Store, temporary_store
from support.tar_files import Entry, tar_of
from support.waiting import wait_until

from kernel_sandbox.engine import Engine
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.images import ImageRecords
from kernel_sandbox.storage.state import State

pytestmark = pytest.mark.same_with_more_ids


@pytest.fixture
def engine() -> Iterator[Engine]:
    with temporary_store() as store, Engine.open(str(store.home)) as engine:
        yield engine


def content(engine: Engine) -> set[str]:
    """Every blob and every unpacked layer."""
    home = Path(engine.paths.home)
    return {path.name for place in ("oci/blobs/sha256", "layers") for path in (home / place).iterdir()}


def imported(engine: Engine, name: str, content: bytes = b"content") -> str:
    read = from_bytes(tar_of([Entry("file", content=content)]))
    try:
        return engine.images.import_(read, name).id
    finally:
        os.close(read)


def from_bytes(data: bytes) -> int:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


class Slow:
    """An import whose archive comes only when it is told to."""

    def __init__(self, engine: Engine, name: str, data: bytes) -> None:
        self._engine = engine
        self._name = name
        self._data = data
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            self._engine.images.import_(self._read, self._name)
        except Exception as error:
            self.error = error

    def __enter__(self) -> "Slow":
        os.write(self._write, self._data[:512])
        self._thread.start()
        wait_until(lambda: any(Path(self._engine.paths.home).glob("adding/*")), timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._write, self._data[512:])
        os.close(self._write)
        self._thread.join(20)
        os.close(self._read)


def test_an_image_goes_with_all_that_no_other_has(engine: Engine) -> None:
    before = content(engine)
    first = imported(engine, "first")
    kept = content(engine)
    imported(engine, "second", b"other")
    engine.images.remove("second")
    assert content(engine) == kept
    engine.images.remove(first)
    assert content(engine) == before


def test_removing_does_not_wait_for_who_adds_and_takes_nothing_from_it(engine: Engine) -> None:
    imported(engine, "unwanted")
    with Slow(engine, "wanted", tar_of([Entry("file", content=b"slow")])) as slow:
        engine.images.remove("unwanted")  # a time-out is this test's failure
        assert [image.tags for image in engine.images.list()] == []
    assert slow.error is None
    (image,) = engine.images.list()
    assert content(engine) == {blob.hex for blob in image.blobs} | {layer.chain_id.hex for layer in image.layers}


def test_what_a_failed_import_has_made_is_gone(engine: Engine) -> None:
    before = content(engine)
    with Slow(engine, "broken", tar_of([Entry("file", content=b"x" * 4096)])[:2048]) as slow:
        pass
    assert isinstance(slow.error, CorruptContent)
    assert content(engine) == before
    assert not list(Path(engine.paths.staging).iterdir())


def test_what_a_killed_process_was_adding_is_collected_by_the_next(engine: Engine) -> None:
    lost = engine.images.layout.put(b"nobody's")
    pledge = Path(engine.paths.pledges, "of-a-dead-process")
    pledge.parent.mkdir(exist_ok=True)
    pledge.touch()
    imported(engine, "any")
    assert lost.hex not in content(engine)
    assert not list(pledge.parent.iterdir())


def test_a_store_of_the_version_before_goes_on(store: Store) -> None:
    with Engine.open(str(store.home)) as engine:
        id_ = imported(engine, "old")
    database = State.at(Paths.of(str(store.home)).database)
    with database.images._database.transaction() as connection:
        for statement in (
            "ALTER TABLE images DROP COLUMN media_type", "ALTER TABLE images DROP COLUMN parent",
            "ALTER TABLE images DROP COLUMN tagged", "ALTER TABLE image_layers DROP COLUMN size",
            "DROP TABLE digests", "DROP TABLE sources",
        ):  # fmt: skip
            connection.execute(statement)
    connection.execute("PRAGMA user_version = 2")
    database.close()
    assert isinstance(database.images, ImageRecords)
    listed = store.cli("images", "--format", "{{.Repository}} {{.ID}} {{.Size}}", check=True).stdout
    assert listed == f"old {id_.removeprefix('sha256:')[:12]} 7B\n"
    assert store.cli("system", "df", "--format", "{{.Size}}", check=True).stdout.splitlines()[0] == "7B"
    store.cli("tag", "old", "new", check=True)
