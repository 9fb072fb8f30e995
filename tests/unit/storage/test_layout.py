import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_sandbox.errors import CorruptContent, NotFound, StoreError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_MANIFEST, REF_NAME, Descriptor, Index, decode
from kernel_sandbox.storage.layout import Blob, ImageLayout
from kernel_sandbox.storage.staging import Staging

ABSENT = Digest.of(b"never stored")


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging")


@pytest.fixture
def layout(tmp_path: Path, staging: Staging) -> Iterator[ImageLayout]:
    layout = ImageLayout(tmp_path / "oci", staging)
    layout.ensure()
    yield layout
    assert os.listdir(staging.path) == []


def named_in(layout: ImageLayout) -> tuple[Descriptor, ...]:
    return decode(Index, Path(layout.path, "index.json").read_bytes()).manifests


def test_a_new_layout_is_valid_and_empty(layout: ImageLayout) -> None:
    layout.ensure()
    assert json.loads(Path(layout.path, "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert named_in(layout) == ()
    assert layout.digests() == ()


def test_ensure_keeps_what_is_there(layout: ImageLayout) -> None:
    digest = layout.put(b"x")
    layout.write_index((Descriptor(media_type=OCI_MANIFEST, digest=digest, size=1),))
    layout.ensure()
    assert len(named_in(layout)) == 1
    assert layout.has(digest)


def test_a_blob_is_read_back(layout: ImageLayout) -> None:
    digest = layout.put(b"content")
    assert layout.put(b"content") == digest == Digest.of(b"content")
    assert layout.has(digest)
    assert layout.digests() == (digest,)
    assert layout.read(digest) == b"content"
    path = layout.blob_path(digest)
    assert path.endswith(f"/blobs/sha256/{digest.hex}")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    layout.remove(digest)
    layout.remove(digest)
    assert not layout.has(digest)


def test_an_absent_blob_is_not_found(layout: ImageLayout) -> None:
    assert not layout.has(ABSENT)
    for read in (layout.read, layout.open):
        with pytest.raises(NotFound):
            read(ABSENT)


def test_a_blob_is_written_in_pieces(layout: ImageLayout) -> None:
    with layout.writer("sha512") as writer:
        for _ in range(3):
            writer.write(b"abc")
        blob = writer.commit(size=9)
    assert blob == Blob(blob.digest, 9)
    assert blob.digest.algorithm == "sha512"
    assert layout.digests() == (blob.digest,)
    assert layout.read(blob.digest) == b"abcabcabc"


def test_a_blob_that_is_not_the_expected_one_leaves_nothing(layout: ImageLayout) -> None:
    with pytest.raises(CorruptContent, match="expected"), layout.writer() as writer:
        writer.write(b"abc")
        writer.commit(expected=ABSENT)
    with pytest.raises(CorruptContent, match="3 bytes, expected 4"), layout.writer() as writer:
        writer.write(b"abc")
        writer.commit(size=4)
    with pytest.raises(CorruptContent, match="larger than 2 bytes"), layout.writer(limit=2) as writer:
        writer.write(b"abc")
    with layout.writer() as writer:
        writer.write(b"never committed")
    assert layout.digests() == ()


def test_a_blob_is_on_the_disk_before_it_has_its_name(layout: ImageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (happened.append(name), real(*args))[1])
    layout.put(b"content")
    assert happened == ["fsync", "rename"]
    layout.sync()
    assert happened == ["fsync", "rename", "fsync"]


def test_an_error_of_the_writers_user_passes_unchanged(layout: ImageLayout) -> None:
    with pytest.raises(ConnectionResetError), layout.writer() as writer:
        writer.write(b"abc")
        raise ConnectionResetError


@pytest.mark.parametrize("damage", [b"", b"contenT", b"content and more"])
def test_damage_is_noticed_at_the_end_of_reading(layout: ImageLayout, damage: bytes) -> None:
    digest = layout.put(b"content")
    Path(layout.blob_path(digest)).write_bytes(damage)
    with pytest.raises(CorruptContent, match=str(digest)):
        layout.read(digest)
    with layout.open(digest) as file, pytest.raises(CorruptContent):
        while file.read(4):
            pass
    assert layout.put(b"content") == digest
    assert layout.read(digest) == b"content"


def test_a_large_blob_is_streamed_but_not_read_whole(layout: ImageLayout) -> None:
    data = os.urandom(3_000_000)
    digest = layout.put(data)
    with layout.open(digest) as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    with pytest.raises(CorruptContent, match="larger than 1000 bytes"):
        layout.read(digest, limit=1000)


@pytest.mark.parametrize("trap", ["symlink", "fifo", "directory"])
def test_a_foreign_layout_cannot_lend_other_files(layout: ImageLayout, trap: str) -> None:
    path = layout.blob_path(ABSENT)
    if trap == "symlink":
        os.symlink("/etc/passwd", path)
    elif trap == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    with pytest.raises(StoreError):
        layout.read(ABSENT)


def test_stray_files_are_no_blobs(layout: ImageLayout) -> None:
    Path(layout.path, "blobs/sha256/README").write_text("not a digest")
    assert layout.digests() == ()


def test_the_index_names_manifests(layout: ImageLayout) -> None:
    manifest = Descriptor(media_type=OCI_MANIFEST, digest=ABSENT, size=5, annotations={REF_NAME: "busybox:latest"})
    layout.write_index((manifest,))
    assert named_in(layout) == (manifest,)


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable"), (errno.EIO, "check")],
)
@pytest.mark.parametrize("call", ["fsync", "rename", "makedirs"])
def test_a_refusing_disk_is_told_in_one_line(
    layout: ImageLayout, monkeypatch: pytest.MonkeyPatch, code: int, advice: str, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError, match=advice) as refusal:
        layout.put(b"content")
    assert "KERNEL_SANDBOX_HOME" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    monkeypatch.undo()
    assert layout.digests() == ()


def test_many_writers_of_one_blob_agree(layout: ImageLayout) -> None:
    found: list[Digest] = []
    threads = [threading.Thread(target=lambda: found.append(layout.put(b"same"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Digest.of(b"same")] * 8
    assert layout.read(found[0]) == b"same"


def test_staged_entries_vanish_unless_moved_away(staging: Staging, tmp_path: Path) -> None:
    with staging.file() as path:
        Path(path).write_text("half")
    with staging.directory() as path:
        Path(path, "half").write_text("half")
    with staging.directory() as path:
        Path(path, "whole").write_text("whole")
        os.rename(path, tmp_path / "final")
    assert os.listdir(staging.path) == []
    assert (tmp_path / "final" / "whole").read_text() == "whole"


def test_staged_entries_vanish_on_an_error(staging: Staging) -> None:
    with pytest.raises(KeyboardInterrupt), staging.directory() as path:
        Path(path, "half").write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(staging.path) == []


def test_a_living_maker_is_not_abandoned(staging: Staging) -> None:
    assert staging.abandoned() == ()
    with staging.file(), staging.directory():
        assert staging.abandoned() == ()
        assert Staging(staging.path).abandoned() == ()


def test_what_cannot_be_removed_is_abandoned(tmp_path: Path) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    staging = Staging(tmp_path, remove_tree=refuse)
    with staging.directory() as path:
        Path(path, "stubborn").touch()
    assert staging.abandoned() == (os.path.dirname(path),)


_STAGE_AND_WAIT = """
import sys, time
from kernel_sandbox.storage.staging import Staging
staging = Staging(sys.argv[1])
with staging.file(), staging.directory() as path:
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_maker_leaves_abandoned_entries(staging: Staging) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STAGE_AND_WAIT, staging.path], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
        assert staging.abandoned() == ()
        maker.send_signal(signal.SIGKILL)
    assert len(staging.abandoned()) == len(os.listdir(staging.path)) == 2


def test_a_search_never_meets_an_entry_that_is_being_made(staging: Staging) -> None:
    stop = threading.Event()
    found: list[str] = []

    def search() -> None:
        while not stop.is_set():
            found.extend(staging.abandoned())

    searcher = threading.Thread(target=search)
    searcher.start()
    try:
        for _ in range(300):
            with staging.file(), staging.directory():
                pass
    finally:
        stop.set()
        searcher.join()
    assert [path for path in found if os.path.lexists(path)] == []
