"""Archives and directories: whatever goes in comes out, and nothing else happens whatever goes in."""

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.worlds import ROOT, WORLDS

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.storage.pack import pack_diff, pack_rootfs
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader
from kernel_sandbox.storage.tar_writing import header
from kernel_sandbox.storage.tree import remove_tree
from kernel_sandbox.storage.unpack import unpack_layer

CHECKED = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..") and not name.startswith(b".wh.")
)
paths = st.lists(st.one_of(st.sampled_from((b"a", b"b", b"c")), names), min_size=1, max_size=4).map(b"/".join)
ids = st.sampled_from((0, 1, 1000, 65534, 3_000_000))
times = st.integers(-(10**18), 4 * 10**18)
modes = st.integers(0, 0o7777)
xattrs = st.dictionaries(
    st.sampled_from((b"user.a", b"user.b", b"user.\xc3\xa9")), st.binary(max_size=40), max_size=2
).map(lambda found: tuple(sorted(found.items())))

files = st.builds(
    lambda content, **fields: (Entry(kind=Kind.FILE, size=len(content), **fields), content),
    st.one_of(st.binary(max_size=20), st.integers(500, 1100).map(bytes)),
    name=paths, mode=modes, uid=ids, gid=ids, mtime=times, xattrs=xattrs,
)  # fmt: skip
directories = st.builds(
    lambda name, **fields: (Entry(name=name + b"/", kind=Kind.DIRECTORY, **fields), b""),
    paths, mode=modes, uid=ids, gid=ids, mtime=times, xattrs=xattrs,
)  # fmt: skip
symlinks = st.builds(
    lambda name, link, mtime: (Entry(name, Kind.SYMLINK, mode=0o777, link=link, mtime=mtime), b""),
    paths, st.one_of(paths, st.sampled_from((b"/", b"..", b"../../..", b"/a/b"))), times,
)  # fmt: skip
devices = st.builds(
    lambda kind, major, minor, **fields: (Entry(kind=kind, major=major, minor=minor, **fields), b""),
    st.sampled_from((Kind.CHARACTER, Kind.BLOCK)), st.integers(1, 4095), st.integers(0, 1_048_575),
    name=paths, mode=modes, uid=ids, gid=ids, mtime=times,
)  # fmt: skip
hardlinks = st.builds(lambda name, link: (Entry(name, Kind.HARDLINK, link=link), b""), paths, paths)
whiteouts = st.builds(
    lambda path, name: (Entry(os.path.join(path, name), Kind.FILE, mode=0), b""),
    st.one_of(st.just(b""), paths), st.one_of(st.just(b".wh..wh..opq"), names.map(lambda name: b".wh." + name)),
)  # fmt: skip


def archive(entries):
    return b"".join(header(entry) + content + bytes(-len(content) % 512) for entry, content in entries) + END


def contents(data):
    reader = TarReader(io.BytesIO(data))
    return {entry.name: (entry, b"".join(iter(lambda: reader.read(4096), b""))) for entry in reader}


def consistent(entries):
    """Leave out what takes the place of something else, or needs a file as its parent."""
    kept = {}
    for entry, content in entries:
        name = entry.name.rstrip(b"/")
        parents = [name[:at] for at, byte in enumerate(name) if byte == ord("/")]
        inside = any(other.startswith(name + b"/") for other in kept)
        if name in kept or inside or any(p in kept and kept[p][0].kind is not Kind.DIRECTORY for p in parents):
            continue
        kept[name] = (entry, content)
    return list(kept.values())


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request):
    if request.param is ROOT and os.geteuid() != 0:
        pytest.skip("not root: the layer is unpacked in a user namespace only")
    return request.param


def round_trip(world, data, *packs):
    """Unpack, and pack again in each of these ways, in the world's own process."""

    def job(root):
        try:
            unpack_layer(io.BytesIO(data), root, world.ownership)
            return tuple(packed(pack, root) for pack in packs)
        finally:
            remove_tree(root)

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        try:
            return world.run(job, root)
        finally:
            assert os.listdir(scratch) == []


def packed(pack, root):
    out = io.BytesIO()
    pack(root, out)
    return out.getvalue()


@CHECKED
@given(entries=st.lists(st.one_of(files, directories, devices), max_size=12))
def test_archive_to_directory_to_archive(world, entries):
    entries = consistent(entries)
    wanted = {entry.name: (entry, content) for entry, content in entries}
    named = {entry.name for entry, _ in entries}

    archives = round_trip(
        world,
        archive(entries),
        lambda root, out: pack_diff(root, out, world.ownership),
        lambda root, out: pack_rootfs((root,), out, world.ownership),
    )
    for found in map(contents, archives):
        implied = {name for name in found if name not in named}
        assert all(found[name][0].kind is Kind.DIRECTORY for name in implied)
        assert {name: value for name, value in found.items() if name in named} == wanted


@CHECKED
@given(entries=st.lists(st.one_of(files, directories, symlinks, hardlinks, whiteouts, devices), max_size=12))
def test_any_archive_is_unpacked_wholly_inside_or_refused_in_one_line(world, entries):
    def pack(root, out):
        pack_diff(root, out, world.ownership)

    try:
        (once,) = round_trip(world, archive(entries), pack)
    except SandboxError as refusal:
        assert "\n" not in str(refusal)
    else:
        (twice,) = round_trip(world, once, pack)
        assert contents(twice).keys() == contents(once).keys()


@CHECKED
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused(data):
    entries = data.draw(st.lists(st.one_of(files, directories, symlinks, devices), min_size=1, max_size=4))
    damaged = bytearray(archive(entries))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        contents(bytes(damaged))
    except SandboxError as refusal:
        assert "\n" not in str(refusal)
