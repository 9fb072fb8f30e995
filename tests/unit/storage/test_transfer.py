"""Plain archives packed and unpacked: a tree comes back, and a hostile archive goes nowhere else."""

import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_sandbox.errors import CorruptContent, SandboxError
from kernel_sandbox.storage import sparse
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.pack import pack_tree
from kernel_sandbox.storage.tar import END, Entry, Kind
from kernel_sandbox.storage.tar_writing import header
from kernel_sandbox.storage.transfer import Destination, Owners, unpack_tree


@pytest.fixture
def out(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the directory ``out``."""
    (tmp_path / "out").mkdir()
    fd = os.open(tmp_path / "out", os.O_PATH)
    yield fd
    os.close(fd)


def packed(top: Path, name: bytes, keeps_holes: bool = True) -> bytes:
    archive = io.BytesIO()
    fd = os.open(top, os.O_PATH | os.O_NOFOLLOW)
    try:
        pack_tree(fd, name, archive, Ownership.REAL, keeps_holes)
    finally:
        os.close(fd)
    return archive.getvalue()


def archive(*entries: Entry) -> io.BytesIO:
    """An archive of entries without content."""
    return io.BytesIO(b"".join(map(header, entries)) + END)


def unpacked(source: io.BytesIO, root: int, name: str | None = None) -> None:
    unpack_tree(source, lambda first: Destination(root, name=name), Owners.CALLER)


@pytest.mark.parametrize(("name", "expected"), [(b"top", "top/file"), (b".", "./file"), (b"/", "/file")])
def test_names_begin_as_they_are_to_be_archived(tmp_path: Path, name: bytes, expected: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    listed = subprocess.run(
        ["tar", "-tPf", "-"], input=packed(tmp_path / "tree", name), capture_output=True, check=True
    )
    assert listed.stdout.decode().splitlines()[1] == expected


@pytest.mark.parametrize("kind", ["file", "link", "fifo", "socket"])
def test_what_is_no_directory_is_an_archive_of_its_own(tmp_path: Path, out: int, kind: str) -> None:
    top = tmp_path / "top"
    match kind:
        case "file":
            top.write_text("content")
        case "link":
            top.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(top)
        case "socket":
            os.mknod(top, stat.S_IFSOCK | 0o600)
    unpacked(io.BytesIO(packed(top, b"top")), out, "renamed")
    made = os.listdir(tmp_path / "out")
    assert made == ([] if kind == "socket" else ["renamed"])


def test_gnu_tar_reads_the_holes_of_a_file(tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for offset in (0, 1 << 20, 3 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(5 << 20)
    content = packed(tmp_path / "holes", b"holes")
    assert len(content) < 1 << 20
    (tmp_path / "tar").mkdir()
    subprocess.run(["tar", "-xf", "-"], input=content, cwd=tmp_path / "tar", check=True)
    assert (tmp_path / "tar" / "holes").read_bytes() == (tmp_path / "holes").read_bytes()


def test_a_file_in_very_many_pieces_is_cut_into_fewer(tmp_path: Path, out: int) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for number in range(5000):
            file.seek(number * 8192)
            file.write(b"x")
    with open(tmp_path / "holes", "rb") as file:
        assert len(sparse.segments(file.fileno(), 5000 * 8192)) <= 4096
    unpacked(io.BytesIO(packed(tmp_path / "holes", b"holes")), out)
    assert (tmp_path / "out" / "holes").read_bytes() == (tmp_path / "holes").read_bytes()


def test_an_empty_file_of_nothing_but_a_hole_keeps_its_size(tmp_path: Path, out: int) -> None:
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 1 << 30)
    unpacked(io.BytesIO(packed(tmp_path / "hole", b"hole")), out)
    made = os.stat(tmp_path / "out" / "hole")
    assert (made.st_size, made.st_blocks) == (1 << 30, 0)


def test_a_link_in_an_archive_is_no_way_out(tmp_path: Path, out: int) -> None:
    (tmp_path / "elsewhere").mkdir()
    for link in (str(tmp_path / "elsewhere"), "../elsewhere"):
        source = archive(
            Entry(b"top/", Kind.DIRECTORY, mode=0o755),
            Entry(b"top/way", Kind.SYMLINK, link=os.fsencode(link)),
            Entry(b"top/way/file", Kind.FILE),
        )
        with pytest.raises(SandboxError):
            unpacked(source, out)
        assert not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", [b"../out2", b"top/../../out2"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, out: int, name: bytes) -> None:
    with pytest.raises(CorruptContent, match="outside"):
        unpacked(archive(Entry(name, Kind.FILE)), out)
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_a_hard_link_to_what_lies_outside_is_refused(tmp_path: Path, out: int) -> None:
    (tmp_path / "secret").write_text("secret")
    for link in (b"../secret", os.fsencode(tmp_path / "secret")):
        with pytest.raises(SandboxError):
            unpacked(archive(Entry(b"top", Kind.HARDLINK, link=link)), out)
        assert not os.listdir(tmp_path / "out")


def test_a_name_that_is_not_below_the_first_is_refused_where_that_is_renamed(out: int) -> None:
    with pytest.raises(CorruptContent):
        unpacked(archive(Entry(b"top/", Kind.DIRECTORY, mode=0o755), Entry(b"other", Kind.FILE)), out, "new")


def test_devices_are_left_out_and_nothing_may_become_another_user(tmp_path: Path, out: int) -> None:
    unpacked(
        archive(
            Entry(b"top/", Kind.DIRECTORY, mode=0o2755),
            Entry(b"top/disk", Kind.BLOCK, mode=0o666, major=8),
            Entry(b"top/null", Kind.CHARACTER, mode=0o666, major=1, minor=3),
            Entry(b"top/program", Kind.FILE, mode=0o6755),
        ),
        out,
    )
    assert os.listdir(tmp_path / "out" / "top") == ["program"]
    assert stat.S_IMODE(os.stat(tmp_path / "out" / "top" / "program").st_mode) == 0o755


def test_a_directory_and_a_file_do_not_replace_each_other(tmp_path: Path, out: int) -> None:
    (tmp_path / "out" / "directory").mkdir()
    (tmp_path / "out" / "file").write_text("old")
    with pytest.raises(SandboxError, match=r"cannot overwrite directory .* with non-directory"):
        unpacked(archive(Entry(b"directory", Kind.FILE)), out)
    with pytest.raises(SandboxError, match=r"cannot overwrite non-directory .* with directory"):
        unpacked(archive(Entry(b"file/", Kind.DIRECTORY)), out)
    assert (tmp_path / "out" / "file").read_text() == "old"


def test_whiteouts_are_plain_names(tmp_path: Path, out: int) -> None:
    (tmp_path / "out" / "top").mkdir()
    (tmp_path / "out" / "top" / "kept").write_text("")
    unpacked(archive(Entry(b"top/.wh.kept", Kind.FILE), Entry(b"top/.wh..wh..opq", Kind.FILE)), out)
    assert sorted(os.listdir(tmp_path / "out" / "top")) == [".wh..wh..opq", ".wh.kept", "kept"]


def test_an_empty_archive_makes_nothing(tmp_path: Path, out: int) -> None:
    unpacked(io.BytesIO(b""), out)
    assert not os.listdir(tmp_path / "out")
