"""``save`` writes images as archives, ``load`` reads them: nothing is lost between, and nothing bad comes in."""

import gzip
import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from support import archives
from support.blobs import remote_image
from support.containers import complaint, inspected
from support.store import Store, temporary_store
from support.tar_files import Entry, content, members, tar_of
from support.waiting import wait_until

CHANGE = "echo made > /made; rm /etc/group; ln /made /hard; chmod 4750 /made"


@pytest.fixture(scope="module")
def ours(shared_store: Store):
    """A store with ``made:1``, also ``other/made:2``, of two layers, and busybox."""
    with temporary_store() as store:
        store.bootstrap("busybox")
        store.cli("run", "--name", "maker", "busybox", "sh", "-c", CHANGE, check=True)
        store.cli("commit", "-c", 'CMD ["cat", "/made"]', "-m", "note", "maker", "made:1", check=True)
        store.cli("rm", "maker", check=True)
        store.cli("tag", "made:1", "other/made:2", check=True)
        yield store


@pytest.fixture(scope="module")
def archive(ours: Store) -> bytes:
    """What ``save`` writes of ``made:1`` and busybox."""
    return ours.cli("save", "made:1", "busybox", text=False, check=True).stdout


def contents(store: Store) -> list[Path]:
    """What takes disk space in a store."""
    places = ("layers", "staging", "oci/blobs/sha256", "adding")
    return sorted(path for place in places for path in (store.home / place).glob("*"))


def ids(store: Store) -> dict[str, str]:
    """The images of a store by name."""
    listed = store.cli("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", check=True).stdout
    return dict(line.split() for line in listed.splitlines())


def test_an_image_that_was_removed_is_loaded_again_and_runs(ours, archive, store):
    done = store.cli("load", input=archive, text=False, check=True)
    assert done.stdout.decode().splitlines() == ["Loaded image: made:1", "Loaded image: busybox:latest"]
    assert {**ids(store), "other/made:2": ids(ours)["made:1"]} == ids(ours)
    assert store.cli("run", "--rm", "made:1", check=True).stdout == "made\n"
    assert store.cli("run", "--rm", "made:1", "ls", "/etc/group").returncode == 1
    there, here = inspected(store, "made:1"), inspected(ours, "made:1")
    for fact in ("Id", "RootFS", "Config", "Comment", "Created", "Size"):
        assert there[fact] == here[fact], fact
    assert store.cli("save", "made:1", "busybox", text=False, check=True).stdout == archive
    before = contents(store)
    store.cli("load", input=archive, text=False, check=True)
    assert contents(store) == before
    store.cli("rmi", "made:1", "busybox", check=True)
    assert contents(store) == []


@pytest.mark.same_for_every_user
def test_the_same_images_are_saved_as_the_same_bytes(ours, archive, tmp_path):
    assert ours.cli("save", "-o", tmp_path / "a.tar", "made:1", "busybox", check=True).stdout == ""
    assert (tmp_path / "a.tar").read_bytes() == archive
    assert {member.mtime for member in members(archive).values()} == {0}


def tags(archive: bytes) -> list[list[str] | None]:
    return [item["RepoTags"] for item in json.loads(content(archive, "manifest.json"))]


@pytest.mark.same_for_every_user
def test_a_repository_means_all_its_tags_and_an_id_none(ours):
    ours.cli("tag", "busybox", "made:2", check=True)
    save = lambda *names: tags(ours.cli("save", *names, text=False, check=True).stdout)  # noqa: E731
    id_ = ids(ours)["made:1"]
    assert save("made") == [["made:1"], ["made:2"]]
    assert save("made:2", "busybox") == [["made:2", "busybox:latest"]]
    assert save(id_) == save(id_[7:19]) == [None]
    assert save(id_, "made:1", "made") == [["made:1"], ["made:2"]]
    assert save("other/made:2", "made:1") == [["other/made:2", "made:1"]]
    ours.cli("rmi", "made:2", check=True)


@pytest.mark.same_for_every_user
def test_what_cannot_be_saved_is_one_line(ours, tmp_path):
    for names in (("unknown",), ("made:3",), ("made:1", "unknown"), ("UPPER",)):
        assert complaint(ours.cli("save", "-o", tmp_path / "x.tar", *names), 1)
    assert "format" in complaint(ours.cli("save", "--format", "zip", "made:1"), 1)
    assert "linux/arm64" in complaint(ours.cli("save", "--platform", "linux/arm64", "made:1"), 1)
    assert complaint(ours.cli("save", "-o", tmp_path / "no/x.tar", "made:1"), 1)
    assert complaint(ours.cli("save", "--format", "oci-dir", "made:1"), 1)
    assert "cannot write to a directory" in complaint(ours.cli("save", "-o", tmp_path, "made:1"), 1)
    assert "cannot write to a character device" in complaint(ours.cli("save", "-o", "/dev/null", "made:1"), 1)
    assert os.listdir(tmp_path) == []
    ours_, theirs = pty.openpty()
    process = ours.start("save", "made:1", stdout=theirs)
    os.close(theirs)
    assert b"cowardly refusing to save to a terminal" in process.communicate(timeout=30)[1]
    os.close(ours_)
    assert process.returncode == 1


@pytest.mark.same_for_every_user
def test_what_nobody_reads_ends_quietly(ours):
    process = ours.start("save", "made:1")
    process.stdout.close()
    assert process.stderr.read().count(b"\n") <= 1
    assert process.wait(30)


@pytest.mark.same_for_every_user
@pytest.mark.parametrize("form", ["oci-archive", "oci-dir"])
def test_oci_forms_keep_the_manifest(ours, store, tmp_path, form):
    ours.cli("save", "--format", form, "-o", tmp_path / "image", "made:1", check=True)
    assert store.cli("load", "-i", tmp_path / "image", check=True).stdout == "Loaded image: made:1\n"
    assert ids(store) == {"made:1": ids(ours)["made:1"]}
    assert inspected(store, "made:1")["RepoDigests"] == inspected(ours, "made:1")["RepoDigests"][:1]
    assert store.cli("run", "--rm", "made:1", check=True).stdout == "made\n"
    if form == "oci-dir":
        assert complaint(ours.cli("save", "--format", form, "-o", tmp_path / "image", "made:1"), 1)
        assert os.listdir(tmp_path) == ["image"]


@pytest.mark.same_for_every_user
def test_layouts_of_others_are_loaded(store, tmp_path):
    image = remote_image([Entry("a", content="1")], [Entry("b", content="2")], [Entry("a", content="1")])
    for files, name in (
        (archives.docker_files(image, "old:1"), "old:1"),
        (archives.new_docker_files(image, "new:1"), "new:1"),
        (archives.oci_files(image, "docker.io/library/oci:1"), "oci:1"),
    ):
        (tmp_path / "archive.tar.gz").write_bytes(gzip.compress(archives.packed(files)))
        assert (
            store.cli("load", "-q", "-i", tmp_path / "archive.tar.gz", check=True).stdout == f"Loaded image: {name}\n"
        )
    assert set(ids(store).values()) == {image.id}
    unnamed = store.cli("load", input=archives.packed(archives.docker_files(image)), text=False, check=True).stdout
    assert unnamed.decode() == f"Loaded image ID: {image.id}\n"
    old = archives.old_files([tar_of([Entry("a", content="1")]), tar_of([Entry("b", content="2")])], "older", "1")
    store.cli("load", input=archives.packed(old), text=False, check=True)
    store.cli("create", "--name", "old", "older:1", "true", check=True)
    exported = store.cli("export", "old", text=False, check=True)
    assert content(exported.stdout, "a") == b"1" and content(exported.stdout, "b") == b"2"


@pytest.mark.same_for_every_user
def test_a_name_that_another_image_had_is_told(store):
    first, second = (remote_image([Entry("file", content=each)]) for each in "12")
    for image in (first, second):
        done = store.cli("load", input=archives.packed(archives.docker_files(image, "x:1")), text=False, check=True)
    assert done.stdout.decode().splitlines() == [
        f"The image x:1 already exists, renaming the old one with ID {first.id} to empty string",
        "Loaded image: x:1",
    ]
    assert ids(store) == {"x:1": second.id, "<none>:<none>": first.id}


def bad(layer: bytes) -> bytes:
    return archives.packed(archives.docker_files(remote_image(layer), "bad:1"))


IMAGE = remote_image([Entry("file", content=b"x" * 100_000)])
GOOD = archives.packed(archives.docker_files(IMAGE, "bad:1"))
BAD = {
    "no archive": b"nothing that anybody could load\n" * 100,
    "cut short": GOOD[:60_000],
    "cut short in gzip": gzip.compress(GOOD)[:-9],
    "a layer that is no archive": archives.packed(
        archives.oci_files(remote_image(b"this is no archive" * 100), "bad:1")
    ),
    "a layer that leads out": bad(tar_of([Entry("x", "hard", "../../etc/passwd")])),
    "another layer than said": archives.packed(
        archives.oci_files(IMAGE.altered(lambda it: it["layers"].append(it["layers"][0])), "bad:1")
    ),
    "the second image is bad": archives.packed(
        archives.layout_files([archives.named(IMAGE, "bad:1"), {**archives.named(IMAGE, "bad:2"), "size": 3}], IMAGE)
    ),
}


@pytest.mark.same_with_more_ids
@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_is_one_line_and_leaves_nothing(shared_store, what):
    before = contents(shared_store)
    done = shared_store.cli("load", input=BAD[what], text=False)
    done.stderr = done.stderr.decode()
    assert complaint(done, 1)
    assert contents(shared_store) == before
    assert complaint(shared_store.cli("rmi", "bad:1"), 1)


def test_an_interrupted_load_leaves_nothing(shared_store):
    before = contents(shared_store)
    process = shared_store.start("load", stdin=subprocess.PIPE)
    process.stdin.write(GOOD[:60_000])
    process.stdin.flush()
    wait_until(lambda: set(contents(shared_store)) - set(before))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert set(contents(shared_store)) <= set(before)
    process.stdin.close()


@pytest.mark.same_for_every_user
def test_load_says_what_is_wrong_with_its_source(shared_store, tmp_path):
    assert "no such file" in complaint(shared_store.cli("load", "-i", tmp_path / "missing"), 1)
    assert complaint(shared_store.cli("load", "-i", tmp_path), 1)
    ours_, theirs = pty.openpty()
    process = shared_store.start("load", stdin=theirs)
    os.close(theirs)
    assert b"requested load from stdin, but stdin is empty" in process.communicate(timeout=30)[1]
    os.close(ours_)
    arm = remote_image([Entry("file")], machine=("linux", "arm64"))
    done = shared_store.cli(
        "load", "--platform", "linux/amd64", input=archives.packed(archives.oci_files(arm, "arm:1")), text=False
    )
    assert done.returncode == 1 and b"linux/arm64" in done.stderr


@pytest.mark.same_for_every_user
@pytest.mark.parametrize("created", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_an_image_of_an_odd_time_is_loaded_and_listed(created, store):
    image = remote_image([Entry("file", content=b"x")], created=created)
    store.cli("load", input=archives.packed(archives.oci_files(image, "odd:1")), text=False, check=True)
    assert ids(store) == {"odd:1": image.id}
    assert inspected(store, "odd:1")["Created"] == created


@pytest.mark.same_for_every_user
@pytest.mark.parametrize("created", ["", "0001-01-01T00:00:00Z"])
def test_an_image_that_does_not_say_when_it_was_created_has_no_age(created, store):
    image = remote_image([Entry("file", content=b"x")], created=created)
    store.cli("load", input=archives.packed(archives.oci_files(image, "ageless:1")), text=False, check=True)
    assert inspected(store, "ageless:1")["Created"] == "0001-01-01T00:00:00Z"
    assert "   N/A   " in store.cli("images", check=True).stdout
    template = "{{.CreatedSince}}|{{.CreatedAt}}"
    assert store.cli("images", "--format", template).stdout == "|0001-01-01 00:00:00 +0000 UTC\n"
