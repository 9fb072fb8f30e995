"""``export`` writes a container's whole root filesystem, ``import`` makes an image of one: nothing is lost between."""

import gzip
import lzma
import os
import pty
import subprocess

import pytest
import zstandard
from support.containers import complaint, ids_inside, inspected
from support.store import COMMAND
from support.tar_files import Entry, content, directory, link, members, tar_of
from support.waiting import wait_until

TREE = """
set -e
mkdir -p /t/dir /t/empty; cd /t
echo one > dir/one; ln dir/one hard; ln -s dir/one soft; ln -s nowhere dangling
chmod 750 dir; chmod 4711 dir/one; chmod 1777 empty; mkfifo pipe; echo x > 'with space'; touch -d @1000 old
rm /etc/group; rm -r /home; mkdir /home; touch /home/again
"""


@pytest.fixture
def tag(shared_store, name):
    """A name for an image; whatever has it is removed."""
    yield f"{name}:new"
    shared_store.cli("rm", "-f", name)
    shared_store.cli("rmi", "-f", f"{name}:new")


@pytest.fixture
def archive(cli, name) -> bytes:
    """The exported root filesystem of a container that made TREE."""
    cli("run", "--name", name, "busybox", "sh", "-c", TREE, check=True)
    return cli("export", name, text=False, check=True).stdout


def test_an_export_has_types_modes_and_links_and_not_what_was_deleted(archive):
    found = members(archive)
    assert oct(found["t/dir"].mode) == "0o750" and found["t/dir"].isdir()
    assert oct(found["t/empty"].mode) == "0o1777"
    assert found["t/soft"].issym() and found["t/soft"].linkname == "dir/one"
    assert found["t/dangling"].linkname == "nowhere"
    assert found["t/pipe"].isfifo()
    assert found["t/old"].mtime == 1000
    assert "t/with space" in found
    one, hard = found["t/dir/one"], found["t/hard"]
    assert sorted((one.islnk(), hard.islnk())) == [False, True]
    assert oct((hard if one.islnk() else one).mode) == "0o4711"
    assert {one.linkname, hard.linkname} - {""} <= {"t/dir/one", "t/hard"}
    assert "etc/group" not in found
    assert {name for name in found if name.startswith("home")} == {"home", "home/again"}
    assert not [name for name in found if ".wh." in name]
    assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}
    assert "etc/passwd" in found


def test_nothing_of_the_kernels_filesystems_is_exported(archive):
    found = members(archive)
    assert not [name for name in found if name.startswith(("proc/", "sys/"))]
    assert not [name for name in found if name.startswith("dev/") and found[name].ischr()]
    for name in ("etc/hosts", "etc/resolv.conf"):
        assert name not in found or found[name].size == 0


def test_a_round_trip_keeps_everything(cli, archive, name, tag):
    cli("import", "-", tag, input=archive, text=False, check=True)
    cli("rm", name, check=True)
    cli("create", "--name", name, tag, "true", check=True)
    again = cli("export", name, text=False, check=True).stdout

    def essence(tar: bytes) -> dict:
        skipped = ("proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf", "")
        return {
            path: (member.type, member.mode, member.uid, member.gid, member.mtime, member.size)
            for path, member in members(tar).items()
            if path not in skipped and not member.islnk()
        }

    assert essence(again) == essence(archive)
    assert content(again, "t/dir/one") == b"one\n"


def test_owners_survive_even_where_the_caller_has_a_single_id(cli, name, tag):
    made = (directory("data"), Entry("data/file", content="x", uid=1234, gid=4321, mode=0o640))
    cli("import", "-", tag, input=tar_of(made), text=False, check=True)
    cli("create", "--name", name, tag, "true", check=True)
    found = members(cli("export", name, text=False, check=True).stdout)["data/file"]
    assert (found.uid, found.gid, found.mode) == (1234, 4321, 0o640)


def test_a_changed_owner_is_exported(cli, shared_store, name):
    if ids_inside(shared_store) == 1:
        pytest.skip("with a single id there is nobody else inside to give a file to")
    cli("run", "--name", name, "busybox", "sh", "-c", "touch /mine; chown 12:34 /mine", check=True)
    found = members(cli("export", name, text=False, check=True).stdout)["mine"]
    assert (found.uid, found.gid) == (12, 34)


def test_export_to_a_file_appears_whole_or_not_at_all(cli, name, tmp_path):
    cli("create", "--name", name, "busybox", check=True)
    target = tmp_path / "rootfs.tar"
    target.write_text("what was there")
    assert cli("export", "-o", str(target), name, check=True).stdout == ""
    assert "etc/passwd" in members(target.read_bytes())
    assert os.listdir(tmp_path) == ["rootfs.tar"]
    assert complaint(cli("export", "-o", str(tmp_path / "other.tar"), "unknown"), 1)
    assert complaint(cli("export", "-o", str(tmp_path / "no/such/dir.tar"), name), 1)
    assert "cannot write to a directory" in complaint(cli("export", "-o", str(tmp_path), name), 1)
    os.mkfifo(tmp_path / "pipe")
    assert "cannot write to a named pipe" in complaint(cli("export", "-o", str(tmp_path / "pipe"), name), 1)
    os.unlink(tmp_path / "pipe")
    assert os.listdir(tmp_path) == ["rootfs.tar"]


def test_an_export_that_fails_leaves_the_old_file(cli, name, tmp_path):
    cli("create", "--name", name, "busybox", check=True)
    target = tmp_path / "rootfs.tar"
    target.write_text("what was there")
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 100; exec {COMMAND} export -o {target} {name}"],
        env=os.environ, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    assert target.read_text() == "what was there"
    assert os.listdir(tmp_path) == ["rootfs.tar"]


def test_export_to_a_terminal_is_refused(cli, shared_store, name):
    cli("create", "--name", name, "busybox", check=True)
    ours, theirs = pty.openpty()
    process = shared_store.start("export", name, stdout=theirs)
    os.close(theirs)
    _, stderr = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 1
    assert b"terminal" in stderr and stderr.count(b"\n") == 1


def test_a_running_container_is_exported(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "touch /there; echo ready; exec sleep 100", check=True)
    wait_until(lambda: "ready" in cli("logs", name).stdout)
    assert "there" in members(cli("export", name, text=False, check=True).stdout)


COMPRESSED = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "bzip2": __import__("bz2").compress,
}


@pytest.mark.parametrize("how", COMPRESSED)
def test_an_archive_is_imported_in_every_compression(cli, name, tag, tmp_path, how):
    path = tmp_path / "archive"
    path.write_bytes(COMPRESSED[how](tar_of([Entry("hello", content="from the archive")])))
    assert cli("import", str(path), tag, check=True).stdout.startswith("sha256:")
    cli("create", "--name", name, tag, "true", check=True)
    assert content(cli("export", name, text=False, check=True).stdout, "hello") == b"from the archive"


def test_changes_and_a_message_are_applied(cli, shared_store, tag):
    flags = ("-c", 'ENTRYPOINT ["/bin/sh"]', "--change", "ENV A=1", "-m", "a note")
    cli("import", *flags, "-", tag, input=tar_of([directory("bin")]), text=False, check=True)
    document = inspected(shared_store, tag)
    assert document["Config"]["Entrypoint"] == ["/bin/sh"]
    assert "A=1" in document["Config"]["Env"]
    assert document["Comment"] == "a note"


def test_a_hole_made_by_a_link_is_kept_as_a_link(cli, name, tag):
    entries = (Entry("real", content="x"), link("soft", "real"), Entry("hard", "hard", "real"))
    cli("import", "-", tag, input=tar_of(entries), text=False, check=True)
    cli("create", "--name", name, tag, "true", check=True)
    found = members(cli("export", name, text=False, check=True).stdout)
    assert found["soft"].linkname == "real"
    assert found["hard"].islnk() != found["real"].islnk()


WHOLE = tar_of([Entry("file", content=b"x" * 100_000)])
BAD = {
    "text": b"this is no archive\n" * 100,
    "random": os.urandom(5000),
    "cut": WHOLE[:50_000],
    "cut gzip": gzip.compress(WHOLE)[:-20],
    "damaged gzip": gzip.compress(os.urandom(5000))[:1000] + b"\xff" * 100,
    "damaged header": WHOLE[:150] + b"\xff" + WHOLE[151:],
    "a link upwards": tar_of([Entry("x", "hard", "../../etc/passwd")]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_is_one_line_and_leaves_nothing(cli, shared_store, what):
    def contents() -> list:
        places = ("layers", "staging", "oci/blobs/sha256")
        return sorted(path for place in places for path in (shared_store.home / place).glob("*"))

    before = contents()
    done = cli("import", "-", "bad:archive", input=BAD[what], text=False)
    done.stderr = done.stderr.decode()
    assert complaint(done, 1)
    assert contents() == before
    assert complaint(cli("rmi", "bad:archive"), 1)


@pytest.mark.same_for_every_user
def test_a_directory_is_no_archive(cli, tmp_path):
    assert "is a directory" in complaint(cli("import", str(tmp_path)), 1)


def test_a_bad_name_is_refused_before_anything_is_read(cli):
    assert complaint(cli("import", "-", "Bad Name", input=WHOLE.decode("latin1")), 1)
