import errno
import io
import os
import stat
import tarfile
import time

import pytest
from support.worlds import ROOT, SINGLE

from kernel_sandbox.errors import CorruptContent, HostError, StoreError
from kernel_sandbox.storage import ownership
from kernel_sandbox.storage.limits import Limits
from kernel_sandbox.storage.overlay import CAPABILITY_XATTR, NODE_XATTR
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.pack import pack_diff
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader
from kernel_sandbox.storage.tar_writing import header
from kernel_sandbox.storage.unpack import unpack_layer

DIRECTORY, FILE, SYMLINK, HARDLINK = Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def archive(*entries):
    """A layer of entries; a pair holds an entry and its content."""
    parts = []
    for entry in entries:
        entry, content = entry if isinstance(entry, tuple) else (entry, b"")
        parts += [header(entry), content, bytes(-len(content) % 512)]
    return b"".join(parts) + END


def file(name, content=b"content", **fields):
    return Entry(name, FILE, size=len(content), **fields), content


def unpack(world, data, directory, limits=None):
    world.run(unpack_layer, io.BytesIO(data), directory, world.ownership, limits)


def is_whiteout(path):
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path):
    return "user.overlay.opaque" in os.listxattr(path)


def test_each_kind_of_file_is_made(world, directory):
    data = archive(
        Entry(b"./", DIRECTORY, mode=0o755, mtime=5 * 10**9),
        Entry(b"bin/", DIRECTORY, mode=0o1777, mtime=1_500_000_000_123_456_789),
        file(b"bin/su", mode=0o4755, mtime=1_400_000_000_000_000_001),
        Entry(b"bin/ln", HARDLINK, link=b"bin/su"),
        Entry(b"bin/sh", SYMLINK, link=b"/bin/su", mtime=1_300_000_000_000_000_007),
        Entry(b"fifo", Kind.FIFO, mode=0o640),
        file(b"na\xff\xc3\nme", b""),
        Entry(b"closed/", DIRECTORY, mode=0),
        file(b"closed/inside", mode=0),
        file(b"implied/by/this"),
    )
    unpack(world, data, directory)
    su, sh = (directory / "bin" / "su").lstat(), (directory / "bin" / "sh").lstat()
    assert (su.st_mode, su.st_nlink, su.st_mtime_ns) == (stat.S_IFREG | 0o4755, 2, 1_400_000_000_000_000_001)
    assert os.readlink(directory / "bin" / "sh") == "/bin/su" and sh.st_mtime_ns == 1_300_000_000_000_000_007
    assert (directory / "bin").stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert stat.S_IMODE((directory / "bin").stat().st_mode) == 0o1777
    assert (directory / "fifo").stat().st_mode == stat.S_IFIFO | 0o640
    assert b"na\xff\xc3\nme" in os.listdir(os.fsencode(directory))
    assert stat.S_IMODE((directory / "closed").stat().st_mode) == 0
    assert stat.S_IMODE((directory / "implied" / "by").stat().st_mode) == 0o755
    assert directory.stat().st_mtime_ns == 5 * 10**9
    assert world.run((directory / "closed" / "inside").stat).st_size == 7


def test_owners_are_kept_really_or_in_an_attribute(world, directory):
    unpack(
        world,
        archive(file(b"file", uid=1000, gid=7), Entry(b"dir", DIRECTORY, uid=3), file(b"mine")),
        directory,
    )
    for name, owner in (("file", (1000, 7)), ("dir", (3, 0)), ("mine", (0, 0))):
        status = (directory / name).stat()
        if world.ownership is Ownership.REAL:
            assert (status.st_uid, status.st_gid) == owner
        else:
            assert status.st_uid == os.getuid()
            kept = ownership.XATTR in os.listxattr(directory / name)
            assert kept == (owner != (0, 0))
            assert not kept or ownership.decode_owner(os.getxattr(directory / name, ownership.XATTR)) == owner


def test_an_owner_the_user_namespace_lacks_is_explained(directory):
    def as_if_real():
        unpack_layer(io.BytesIO(archive(file(b"file", uid=1000))), directory, Ownership.REAL)

    with pytest.raises(HostError, match="/etc/subuid"):
        SINGLE.run(as_if_real)


def test_whiteouts_take_overlayfs_form(world, directory):
    data = archive(
        file(b"etc/.wh.passwd", b""),
        file(b"var/.wh..wh..opq", b""),
        file(b"var/kept"),
        file(b".wh..wh.aufs", b""),
    )
    unpack(world, data, directory)
    assert is_whiteout(directory / "etc" / "passwd")
    assert is_opaque(directory / "var") and not is_opaque(directory / "etc")
    assert sorted(os.listdir(directory)) == ["etc", "var"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_hides_lower_layers_and_not_its_own(world, directory, order):
    entries = [
        [file(b".wh.dir", b""), Entry(b"dir/", DIRECTORY)],
        [file(b".wh.file", b""), file(b"file")],
        [file(b".wh.implied", b""), file(b"implied/file")],
    ]
    unpack(world, archive(*(entry for pair in entries for entry in pair[::order])), directory)
    assert is_opaque(directory / "dir") and is_opaque(directory / "implied")
    assert (directory / "file").read_bytes() == b"content"
    assert (directory / "implied" / "file").read_bytes() == b"content"


def test_a_device_is_made_or_remembered(world, directory):
    data = archive(
        Entry(b"null", Kind.CHARACTER, mode=0o666, major=1, minor=3),
        Entry(b"disk", Kind.BLOCK, major=8, minor=300),
    )
    unpack(world, data, directory)
    if world is ROOT:
        assert (directory / "null").stat().st_mode == stat.S_IFCHR | 0o666
        assert (directory / "disk").stat().st_rdev == os.makedev(8, 300)
    else:
        assert os.getxattr(directory / "null", NODE_XATTR) == b"c 1 3"
        assert os.getxattr(directory / "disk", NODE_XATTR) == b"b 8 300"


def test_a_device_that_looks_like_a_whiteout_hides_nothing(world, directory):
    unpack(world, archive(Entry(b"device", Kind.CHARACTER)), directory)
    assert os.getxattr(directory / "device", NODE_XATTR) == b"c 0 0"


def test_attributes_and_capabilities_are_kept(world, directory):
    xattrs = (
        (b"user.a", b"\0\xff\n=binary"),
        (b"security.capability", CAPABILITY),
        (b"trusted.overlayfs", b"x"),
    )
    unpack(
        world,
        archive(
            file(b"ping", mode=0o755, xattrs=xattrs),
            file(b"forged", xattrs=((b"user.kernel_sandbox.node", b"c 1 1"),)),
        ),
        directory,
    )
    assert os.getxattr(directory / "ping", "user.a") == b"\0\xff\n=binary"
    assert {"security.capability", CAPABILITY_XATTR} & set(os.listxattr(directory / "ping"))
    assert not os.listxattr(directory / "forged")


def test_a_directory_that_follows_what_is_in_it_keeps_that(world, directory):
    unpack(world, archive(file(b"d/kept"), Entry(b"./d", DIRECTORY, mode=0o700, mtime=10**9)), directory)
    assert (directory / "d" / "kept").exists()
    assert stat.S_IMODE((directory / "d").stat().st_mode) == 0o700
    assert (directory / "d").stat().st_mtime_ns == 10**9


def test_links_inside_the_root_are_resolved_inside_it(world, directory, tmp_path):
    (tmp_path / "etc").mkdir()
    data = archive(
        Entry(b"run", DIRECTORY), Entry(b"var", SYMLINK, link=b"/run"), file(b"var/file"),
        Entry(b"etc", SYMLINK, link=b"../../../../../../run"), file(b"etc/passwd"),
    )  # fmt: skip
    unpack(world, data, directory)
    assert sorted(os.listdir(directory / "run")) == ["file", "passwd"]


OUT = b"../" * 12 + b"tmp"
HOSTILE = {
    "absolute name": [file(b"/escaped")],
    "name through ..": [file(b"a/../../escaped")],
    "name of ..": [Entry(b"..", DIRECTORY)],
    "empty name": [file(b"")],
    "name with NUL": [file(b"a" * 101 + b"\0b")],
    "name of 4 KiB": [file(b"a/" * 2048 + b"b")],
    "component of 300 bytes": [file(b"a" * 300)],
    "file through a link out": [Entry(b"etc", SYMLINK, link=OUT + b"/nothing"), file(b"etc/escaped")],
    "file through a dangling link": [Entry(b"etc", SYMLINK, link=b"/nothing"), file(b"etc/escaped")],
    "file through a link of itself": [Entry(b"l", SYMLINK, link=b"l"), file(b"l/escaped")],
    "file through a file": [file(b"a"), file(b"a/b")],
    "hard link outside": [Entry(b"l", HARDLINK, link=b"/etc/passwd")],
    "hard link through ..": [Entry(b"l", HARDLINK, link=b"../../etc/passwd")],
    "hard link through a link out": [Entry(b"e", SYMLINK, link=OUT), Entry(b"l", HARDLINK, link=b"e/passwd")],
    "hard link to nothing": [Entry(b"l", HARDLINK, link=b"nothing")],
    "hard link to a directory": [Entry(b"d", DIRECTORY), Entry(b"l", HARDLINK, link=b"d")],
    "hard link to itself": [file(b"l"), Entry(b"l", HARDLINK, link=b"./l")],
    "hard link to a whiteout": [file(b".wh.w", b""), Entry(b"l", HARDLINK, link=b"w")],
    "symbolic link to nothing at all": [Entry(b"l", SYMLINK)],
    "whiteout of .": [file(b"a/.wh..", b"")],
    "whiteout of ..": [file(b"a/.wh...", b"")],
    "whiteout of nothing": [file(b"a/.wh.", b"")],
    "root replaced by a link": [Entry(b".", SYMLINK, link=b"/tmp")],
    "overlayfs attribute": [file(b"a", xattrs=((b"user.overlay.opaque", b"y"),))],
    "overlayfs attribute of root": [file(b"a", xattrs=((b"trusted.overlay.redirect", b"/etc"),))],
    "a directory twice": [Entry(b"a/", DIRECTORY), file(b"a/b"), Entry(b"./a", DIRECTORY)],
    "the root twice": [Entry(b"./", DIRECTORY), Entry(b"/", DIRECTORY)],
    "a whiteout twice": [file(b".wh.a", b""), file(b".wh.a", b"")],
    "a file twice": [file(b"a", b"first"), file(b"a", b"second")],
    "a link twice": [Entry(b"a", SYMLINK, link=b"x"), Entry(b"a", SYMLINK, link=b"y")],
    "a fifo twice": [Entry(b"a", Kind.FIFO), Entry(b"./a", Kind.FIFO)],
    "a file after a directory": [file(b"a/b"), file(b"a")],
    "a directory after a file": [file(b"a"), Entry(b"a", DIRECTORY)],
    "a file after a link": [Entry(b"a", SYMLINK, link=b"b"), file(b"a")],
    "a hard link after a file": [file(b"a"), file(b"b"), Entry(b"b", HARDLINK, link=b"a")],
    "attributes of 100 KB": [file(b"a", xattrs=((b"user.a", bytes(100_000)),))],
    "impossible owner": [file(b"a", uid=0xFFFFFFFF)],
    "impossible device": [Entry(b"a", Kind.CHARACTER, major=5000)],
    "time beyond all": [file(b"a", mtime=10**30)],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(world, directory, tmp_path, name):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CorruptContent) as refusal:
        unpack(world, archive(*HOSTILE[name]), directory)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500
    assert sorted(os.listdir(tmp_path)) == before
    assert not os.path.lexists("/tmp/escaped") and not os.path.lexists("/escaped")


def test_limits_are_kept(world, directory):
    for data, limits in (
        (archive(*(file(b"%d" % n, b"") for n in range(11))), Limits(entries=10)),
        (archive(file(b"a", bytes(600)), file(b"b", bytes(600))), Limits(bytes=1000)),
        (archive(file(b"a" * 50)), Limits(path=50)),
        (archive(file(b"a/b/c/d/e"), file(b"f/g/h/i/j")), Limits(implied=7)),
    ):
        with pytest.raises(CorruptContent):
            unpack(world, data, directory, limits)


def test_the_root_may_be_called_a_slash(world, directory):
    unpack(world, archive(Entry(b"/", DIRECTORY, mode=0o700, mtime=7), file(b"file")), directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert directory.stat().st_mtime_ns == 7 and (directory / "file").exists()


def test_directories_that_no_entry_names_are_soon_made_however_deep(directory):
    data = archive(*(file(b"%d/" % number + b"d/" * 2000 + b"f") for number in range(4)))
    started = time.process_time()
    unpack_layer(io.BytesIO(data), directory, Ownership.SINGLE)
    assert time.process_time() - started < 2


def test_a_bomb_of_holes_is_refused(world, directory):
    sparse = tarfile.TarInfo("bomb")
    sparse.pax_headers = {"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"}
    data = sparse.tobuf(tarfile.PAX_FORMAT) + END
    with pytest.raises(CorruptContent, match="more than"):
        unpack(world, data, directory)


def test_the_archive_is_read_to_its_end(world, directory):
    stream = io.BytesIO(archive(file(b"a")) + bytes(20 * 512))
    unpack_layer(stream, directory, Ownership.SINGLE)
    assert not stream.read()


def test_an_archive_that_goes_on_after_its_end_is_refused(directory):
    class Endless(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(size) or bytes(size)

    with pytest.raises(CorruptContent, match="goes on after its end"):
        unpack_layer(Endless(archive(file(b"a"))), directory, Ownership.SINGLE)


def test_what_does_not_fit_is_not_begun(directory, monkeypatch):
    small = os.statvfs_result((4096, 4096, 9000, 9000, 4096, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: small)
    with pytest.raises(StoreError, match="no space left to unpack 'large'"):
        unpack_layer(io.BytesIO(header(Entry(b"large", FILE, size=17 << 20))), directory, Ownership.SINGLE)
    assert (directory / "large").stat().st_size == 0


def test_an_attribute_that_the_file_system_has_no_room_for_is_named(directory, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "setxattr", refuse)
    data = archive(file(b"a", xattrs=((b"user.big", bytes(1 << 16)),)))
    with pytest.raises(StoreError, match=r"attribute 'user\.big' of 65536 bytes"):
        unpack_layer(io.BytesIO(data), directory, Ownership.SINGLE)


def test_long_runs_of_zeros_take_no_disk(world, directory):
    content = bytes(5 << 20) + b"end" + bytes(3 << 20)
    unpack(world, archive(file(b"zeros", content), file(b"only", bytes(2 << 20))), directory)
    assert (directory / "zeros").read_bytes() == content
    assert (directory / "only").read_bytes() == bytes(2 << 20)
    assert (directory / "zeros").stat().st_blocks * 512 < 3 << 20
    assert (directory / "only").stat().st_blocks * 512 < 1 << 20


def test_holes_between_small_pieces_take_no_disk(world, directory):
    content = b"".join(bytes([number + 1]) * 4096 + bytes(252 << 10) for number in range(16)) + bytes(5)
    unpack(world, archive(file(b"many", content), file(b"small", bytes(40 << 10))), directory)
    assert (directory / "many").read_bytes() == content
    assert (directory / "small").read_bytes() == bytes(40 << 10)
    assert (directory / "many").stat().st_blocks * 512 <= 512 << 10
    assert (directory / "small").stat().st_blocks * 512 <= 8 << 10


def test_a_directory_keeps_its_time_whatever_comes_later(world, directory):
    data = archive(
        Entry(b"./", DIRECTORY, mtime=1), Entry(b"a/", DIRECTORY, mtime=2), Entry(b"b/", DIRECTORY, mtime=3),
        file(b"a/1"), file(b"b/1"), Entry(b"a/link", SYMLINK, link=b"x"), file(b"a/implied/2"), file(b"top"),
        Entry(b"a/last/", DIRECTORY, mtime=4), file(b"a/.wh.gone", b""), file(b"a/last/3"),
    )  # fmt: skip
    unpack(world, data, directory)
    times = {name: (directory / name).stat().st_mtime_ns for name in (".", "a", "b", "a/last")}
    assert times == {".": 1, "a": 2, "b": 3, "a/last": 4}


def test_owners_of_links_are_kept_with_a_single_id_however_many_there_are(directory, tmp_path):
    many = [Entry(b"many/%d" % number, SYMLINK, link=b"x", uid=number % 7, gid=5) for number in range(3000)]
    few = [Entry(b"few/%d" % number, Kind.FIFO, uid=number % 7, gid=5) for number in range(70)]
    few.append(Entry(b"few/again", HARDLINK, link=b"few/3", uid=3, gid=5))
    size = SINGLE.run(unpack_layer, io.BytesIO(archive(*few, *many)), directory, Ownership.SINGLE)
    assert size == len(many)
    out = io.BytesIO()
    pack_diff(directory, out, Ownership.SINGLE)
    out.seek(0)
    owners = {entry.name: (entry.uid, entry.gid) for entry in TarReader(out)}
    assert {entry.name: owners[entry.name] for entry in few} == {entry.name: (entry.uid, 5) for entry in few}
    assert {owners[entry.name][1] for entry in many} == {5}
