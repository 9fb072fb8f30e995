"""What no image has any more goes, what somebody is adding stays, and nobody waits for the other."""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.adversary import Adversary, Exchange, only
from support.client import Client
from support.store import Store, temporary_store
from support.tar_files import Entry, members, tar_of
from support.waiting import wait_until

from kernel_sandbox.engine import Engine, locks, tasks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.pruning import prune_images
from kernel_sandbox.errors import CorruptContent, NotFound
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage.images import ImageRecords
from kernel_sandbox.storage.layout import ImageLayout
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


def imported(engine: Engine, name: str, content: bytes = b"content", files: int = 1) -> str:
    read = from_bytes(tar_of([Entry(f"file{number}", content=content) for number in range(files)]))
    try:
        return engine.images.import_(read, name).id
    finally:
        os.close(read)


def from_bytes(data: bytes) -> int:
    descriptor = os.memfd_create("archive")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


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


@pytest.mark.parametrize("next_", ["import", "prune"])
def test_what_a_killed_process_was_adding_is_collected_by_the_next(engine: Engine, next_: str) -> None:
    lost = engine.images.layout.put(b"nobody's")
    pledge = Path(engine.paths.pledges, "of-a-dead-process")
    pledge.parent.mkdir(exist_ok=True)
    pledge.touch()
    if next_ == "import":
        imported(engine, "any")
    else:
        prune_images(engine, all_=False, filters=Filters(), zone=0)
    assert lost.hex not in content(engine)
    assert not list(pledge.parent.iterdir())


def test_two_who_first_use_a_store_at_once_leave_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure = Paths.ensure_skeleton

    def late(paths: Paths) -> None:
        monkeypatch.undo()
        Engine.open(paths.home).close()
        before.update(tmp_path.rglob("*"))
        ensure(paths)

    before: set[Path] = set()
    monkeypatch.setattr(Paths, "ensure_skeleton", late)
    Engine.open(str(tmp_path)).close()
    assert {path for path in tmp_path.rglob("*") if "state.db" not in path.name} == before


def test_a_store_whose_making_was_cut_short_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    for owner, step in ((ImageLayout, "ensure"), (Paths, "ensure_reserve"), (Paths, "ensure_skeleton")):
        monkeypatch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Engine.open(str(tmp_path))
        monkeypatch.undo()
    with Engine.open(str(tmp_path)) as engine:
        assert sorted(os.listdir(engine.paths.oci)) == ["blobs", "index.json", "oci-layout"]
        assert sorted(os.listdir(engine.paths.skeleton)) == ["dev", "etc", "proc", "sys"]


def test_a_store_of_the_version_before_goes_on(store: Store) -> None:
    with Engine.open(str(store.home)) as engine:
        id_ = imported(engine, "old")
    database = State.at(Paths.of(str(store.home)).database)
    with database.images._database.transaction() as connection:
        for statement in (
            "ALTER TABLE images DROP COLUMN media_type", "ALTER TABLE images DROP COLUMN parent",
            "ALTER TABLE images DROP COLUMN tagged", "ALTER TABLE images DROP COLUMN removed",
            "ALTER TABLE image_layers DROP COLUMN size", "DROP TABLE digests", "DROP TABLE sources",
        ):  # fmt: skip
            connection.execute(statement)
    connection.execute("PRAGMA user_version = 2")
    database.close()
    assert isinstance(database.images, ImageRecords)
    listed = store.cli("images", "--format", "{{.Repository}} {{.ID}} {{.Size}}", check=True).stdout
    assert listed == f"old {id_.removeprefix('sha256:')[:12]} 7B\n"
    assert store.cli("system", "df", "--format", "{{.Size}}", check=True).stdout.splitlines()[0] == "7B"
    store.cli("tag", "old", "new", check=True)


def test_what_is_removed_while_somebody_collects_goes_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(engine)
    imported(engine, "first")
    imported(engine, "second", b"other")
    remove_blob = engine.images.layout.remove

    def meanwhile(blob: Digest) -> None:
        monkeypatch.undo()
        with Engine.open(engine.paths.home) as other:
            other.images.remove("second")
        remove_blob(blob)

    monkeypatch.setattr(engine.images.layout, "remove", meanwhile)
    engine.images.remove("first")
    assert content(engine) == before
    assert not list(Path(engine.paths.pledges).iterdir())


def test_a_job_keeps_what_it_adds_from_being_collected_though_its_client_is_gone(engine: Engine) -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs, open(read, "rb"), open(write, "wb"):
        task = tasks.InStore(engine.paths.home, engine.paths.run)
        engine.launcher.spawn("ingest", tasks.encode(task), (theirs.fileno(), read))
        wait_until(lambda: any(Path(engine.paths.staging).glob("*")))
        with locks.exclusive_at_once(engine.paths.lock) as lock:
            assert lock is None
    wait_until(lambda: not any(Path(engine.paths.staging).glob("*")))
    with locks.exclusive_at_once(engine.paths.lock) as lock:
        assert lock is not None


def test_what_killed_processes_have_half_made_goes_when_anything_is_collected(engine: Engine) -> None:
    imported(engine, "unwanted")
    half = Path(engine.paths.staging, "of-a-dead-process", "content")
    half.mkdir(parents=True)
    engine.images.remove("unwanted")
    assert not list(Path(engine.paths.staging).iterdir())


def test_an_image_that_is_removed_while_it_is_pushed_arrives_whole(client: Client, bench: Adversary) -> None:
    """It goes when the push has ended."""
    before = content(client.engine)
    name = f"{bench.host}/library/leaving:1"
    image = client.engine.images.find(imported(client.engine, name))

    def remove(_: Exchange) -> bool:
        client.engine.images.remove(name)
        return False

    bench.behave(only("HEAD .*/blobs/", remove, times=1))
    client.push(name)
    assert set(map(str, (image.id, *(layer.blob for layer in image.layers)))) <= bench.blobs.keys()
    assert content(client.engine) == before


def test_what_is_exported_is_whole_whoever_removes_its_image(engine: Engine) -> None:
    imported(engine, "image", b"x" * (1 << 20), files=3)
    id_ = engine.containers.create(ContainerOptions(image="image", command=("true",))).id
    read, write = os.pipe()

    def export() -> None:
        with open(write, "wb") as target:
            engine.containers.export(id_, target.fileno())

    with ThreadPoolExecutor(1) as pool, open(read, "rb") as pipe:
        exported = pool.submit(export)
        start = pipe.read(1024)
        engine.containers.remove(id_)
        engine.images.remove("image")
        archive = start + pipe.read()
        exported.result(20)
    assert [members(archive)[f"file{number}"].size for number in range(3)] == [1 << 20] * 3
    assert not any(Path(engine.paths.layers).iterdir())


def test_a_name_that_is_given_while_the_last_one_is_taken_away_is_not_lost(engine: Engine) -> None:
    """Whichever is first: the image stays under its other name, or there was none any more to be named."""
    with ThreadPoolExecutor(1) as pool:
        for _ in range(10):
            imported(engine, "first")
            tagging = pool.submit(engine.images.tag, "first", "second")
            engine.images.remove("first")
            named = [tag for image in engine.images.list() for tag in image.tags]
            if tagging.exception(10) is None:
                assert named == ["docker.io/library/second:latest"]
                engine.images.remove("second")
            else:
                assert isinstance(tagging.exception(), NotFound)
                assert named == []
