import io
import os
import socket
import stat
import struct
import subprocess
import threading

import pytest
from support.worlds import ROOT, SINGLE

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.storage.attributes import portable_capability
from kernel_sandbox.storage.overlay import CAPABILITY_XATTR
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.pack import pack_diff, pack_rootfs
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader
from kernel_sandbox.storage.tar_writing import header
from kernel_sandbox.storage.tree import remove_tree
from kernel_sandbox.storage.unpack import unpack_layer


def packed(world, function, *arguments):
    def job():
        out = io.BytesIO()
        function(*arguments[:1], out, world.ownership, *arguments[1:])
        return out.getvalue()

    return world.run(job)


def contents(data):
    reader = TarReader(io.BytesIO(data))
    found = {}
    for entry in reader:
        content = b""
        while piece := reader.read(1 << 20):
            content += piece
        assert entry.name not in found
        found[entry.name] = (entry, content)
    return found


def layer(world, directory, *entries):
    directory.mkdir(exist_ok=True)
    data = b"".join(
        header(entry) + content + bytes(-len(content) % 512) for entry, content in ((e, b"x" * e.size) for e in entries)
    )
    world.run(unpack_layer, io.BytesIO(data + END), directory, world.ownership)
    return directory


def file(name, size=1, **fields):
    return Entry(name, Kind.FILE, size=size, **fields)


def folder(name, mode=0o755, **fields):
    return Entry(name, Kind.DIRECTORY, mode=mode, **fields)


def test_an_unchanged_container_gives_an_archive_of_nothing(world, directory):
    assert packed(world, pack_diff, directory) == END


def test_a_layer_comes_back_as_it_went_in(world, directory):
    went_in = [
        folder(b"a/", mtime=1_234_567_890_123_456_789),
        Entry(b"a/.wh..wh..opq", Kind.FILE, mode=0),
        Entry(b"a/.wh.gone", Kind.FILE, mode=0),
        file(b"a/file", 3, mode=0o6755, uid=1000, gid=5, mtime=7, xattrs=((b"user.x", b"\0\n"),)),
        file(b"a/pi\xffng", xattrs=((b"security.capability", b"\1\0\0\2" + b"\4" + bytes(15)),)),
        Entry(b"a/zlink", Kind.HARDLINK, 0o6755, 1000, 5, 7, link=b"a/file", xattrs=((b"user.x", b"\0\n"),)),
        Entry(b"fifo", Kind.FIFO),
        Entry(b"link", Kind.SYMLINK, mode=0o777, link=b"/a/file", mtime=-5),
        Entry(b"null", Kind.CHARACTER, uid=7, major=1, minor=3),
        file(b"many/" + b"n" * 250, 600_000),
    ]
    layer(world, directory, *went_in)
    found = contents(packed(world, pack_diff, directory))
    came_out = {name: entry for name, (entry, _) in found.items() if name != b"many/"}
    assert came_out == {entry.name: entry for entry in went_in}
    assert found[b"many/" + b"n" * 250][1] == b"x" * 600_000


def test_whiteouts_come_first_and_the_order_is_the_same_each_time(world, directory):
    layer(
        world,
        directory,
        folder(b"b"),
        file(b"b/2"),
        file(b"b/1"),
        file(b"b/.wh..wh..opq"),
        file(b"a"),
        file(b".wh.c"),
    )
    data = packed(world, pack_diff, directory)
    assert list(contents(data)) == [b"a", b".wh.c", b"b/", b"b/.wh..wh..opq", b"b/1", b"b/2"]
    assert packed(world, pack_diff, directory) == data


def test_what_is_excluded_is_left_out_with_all_in_it(world, directory):
    layer(
        world,
        directory,
        folder(b"dev"),
        file(b"dev/null"),
        folder(b"etc"),
        file(b"etc/hosts"),
        file(b"etc/motd"),
    )
    names = contents(packed(world, pack_diff, directory, frozenset((b"dev", b"etc/hosts"))))
    assert list(names) == [b"etc/", b"etc/motd"]


def test_sockets_and_reserved_names_are_left_out(world, directory, monkeypatch):
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    (directory / ".wh.forged").touch()
    assert packed(world, pack_diff, directory) == END


def test_links_are_never_followed(world, directory, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (directory / "link").symlink_to(tmp_path / "secret")
    (directory / "tree").symlink_to(tmp_path)
    found = contents(packed(world, pack_diff, directory))
    assert {name: entry.kind for name, (entry, _) in found.items()} == dict.fromkeys((b"link", b"tree"), Kind.SYMLINK)


def test_forged_notes_of_a_container_do_no_harm(world, directory):
    (directory / "file").touch()
    os.setxattr(directory / "file", "user.kernel_sandbox.node", b"c -1 99999999999999")
    os.setxattr(directory / "file", "user.rootlesscontainers", b"\xff\xff")
    os.setxattr(directory / "file", "user.overlay.redirect", b"/etc")
    ((entry, _),) = contents(packed(world, pack_diff, directory)).values()
    assert entry.kind is Kind.FILE and entry.xattrs == ()


def test_the_merged_view_is_what_overlayfs_shows(world, tmp_path):
    bottom = layer(
        world, tmp_path / "1",
        folder(b"etc/", mode=0o700), file(b"etc/passwd"), file(b"etc/gone"), folder(b"opaque/"), file(b"opaque/old"),
        folder(b"replaced/"), file(b"replaced/old"), file(b"file"), folder(b"back/"), file(b"back/old"),
        file(b"one"), Entry(b"two", Kind.HARDLINK, link=b"one"),
    )  # fmt: skip
    middle = layer(
        world, tmp_path / "2",
        file(b"etc/.wh.gone"), file(b"opaque/.wh..wh..opq"), file(b"opaque/new"), file(b"replaced"),
        folder(b"file/"), file(b".wh.back"),
    )  # fmt: skip
    top = layer(world, tmp_path / "3", folder(b"etc/"), file(b"etc/passwd", 5), folder(b"back/"), file(b"back/new"))
    found = contents(packed(world, pack_rootfs, (top, middle, bottom)))
    assert list(found) == [
        b"one", b"replaced", b"two", b"back/", b"back/new", b"etc/", b"etc/passwd", b"file/", b"opaque/", b"opaque/new"
    ]  # fmt: skip
    assert found[b"etc/passwd"][1] == b"xxxxx" and found[b"etc/"][0].mode == 0o755
    assert found[b"two"][0].link == b"one"
    mount = f"lowerdir={top}:{middle}:{bottom},userxattr"
    script = 'mount -t overlay none -o "$0" "$1" && cd "$1" && find . -mindepth 1'
    (tmp_path / "view").mkdir()
    seen = subprocess.run(["unshare", "-rm", "sh", "-c", script, mount, tmp_path / "view"], capture_output=True)
    if seen.returncode:
        pytest.skip(f"overlayfs cannot be mounted here to compare with: {seen.stderr.decode()}")
    assert {b"./" + name.rstrip(b"/") for name in found} == set(seen.stdout.split())


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_file_that_changes_its_size_does_not_break_the_archive(directory, size):
    path = directory / "log"
    path.write_bytes(bytes(size))
    (directory / "next").write_text("next")
    stop = threading.Event()

    def change():
        while not stop.is_set():
            os.truncate(path, size // 2)
            os.truncate(path, size * 2)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(30):
            out = io.BytesIO()
            pack_diff(directory, out, Ownership.REAL)
            assert contents(out.getvalue())[b"next"][1] == b"next"
    finally:
        stop.set()
        changer.join()


def test_files_that_vanish_are_left_out(directory):
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            (directory / "d").mkdir()
            (directory / "d" / "f").touch()
            (directory / "d" / "f").unlink()
            (directory / "d").rmdir()
            (directory / "d").symlink_to("/")
            (directory / "d").unlink()

    churner = threading.Thread(target=churn)
    churner.start()
    try:
        for _ in range(300):
            out = io.BytesIO()
            pack_diff(directory, out, Ownership.REAL)
            assert set(contents(out.getvalue())) <= {b"d", b"d/", b"d/f"}
    finally:
        stop.set()
        churner.join()


def test_capabilities_lose_the_namespace_they_were_set_in():
    permitted = struct.pack("<4I", 0x400, 0, 0, 0)
    assert portable_capability(struct.pack("<I", 0x03000001) + permitted + struct.pack("<I", 100_000)) == (
        struct.pack("<I", 0x02000001) + permitted
    )


def test_a_program_gets_no_capabilities_that_its_owner_wrote_beside_it(world, directory):
    """An ordinary user inside may write any attribute of the class ``user``, and is somebody else with several ids."""
    (directory / "program").touch()
    os.setxattr(directory / "program", CAPABILITY_XATTR, struct.pack("<5I", 0x02000001, 0x80, 0, 0, 0))
    (entry,) = TarReader(io.BytesIO(packed(world, pack_diff, directory)))
    assert bool(entry.xattrs) is (world is SINGLE)


def test_gnu_tar_reads_what_is_packed(directory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("not root: GNU tar cannot restore owners")
    entries = [
        folder(b"d/"),
        file(b"d/f", 5, uid=9, mtime=1_234_567_890_123_456_789),
        Entry(b"d/h", Kind.HARDLINK, link=b"d/f"),
    ]
    layer(ROOT, directory, *entries)
    (tmp_path / "out").mkdir()
    data = packed(ROOT, pack_diff, directory)
    subprocess.run(["tar", "xpf", "-", "-C", tmp_path / "out"], input=data, check=True)
    status = (tmp_path / "out" / "d" / "f").stat()
    assert (status.st_uid, status.st_nlink, status.st_mtime_ns) == (9, 2, 1_234_567_890_123_456_789)
    assert stat.S_ISREG(status.st_mode)


def test_large_holes_are_left_out_and_small_ones_written(world, directory):
    for name, size in (("small", 3 << 20), ("large", 9 << 30)):
        with (directory / name).open("wb") as file:
            file.write(b"begin")
            file.truncate(size)
    data = packed(world, pack_diff, directory)
    assert len(data) < 4 << 20
    reader = TarReader(io.BytesIO(data))
    found = {entry.name: entry for entry in reader}
    assert found[b"small"].segments is None and found[b"small"].size == 3 << 20
    assert found[b"large"].segments is not None and found[b"large"].size == 9 << 30
    again = directory.parent / "again"
    again.mkdir()
    world.run(unpack_layer, io.BytesIO(data), again, world.ownership)
    for name in ("small", "large"):
        there, here = (directory / name).stat(), (again / name).stat()
        assert (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
        assert here.st_blocks * 512 <= 1 << 20


def test_a_path_that_no_one_can_unpack_is_named(directory):
    parts = ["d" * 250] * 17
    at = os.open(directory, os.O_RDONLY)
    for part in parts:
        os.mkdir(part, dir_fd=at)
        at = os.open(part, os.O_RDONLY, dir_fd=at)
    with pytest.raises(SandboxError, match=r"cannot archive 'ddd.*4266 bytes") as refusal:
        pack_diff(directory, io.BytesIO(), Ownership.REAL)
    assert len(str(refusal.value)) < 400
    remove_tree(directory)
