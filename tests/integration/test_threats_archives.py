"""What a hostile archive of images, or directory, could gain beyond a failed load: files of the host's, time, space.

That every kind of broken archive is refused in one line is in ``property/test_image_archives``; names within layers are
in ``test_hostile_images``.
"""

import gzip
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import archives
from support.blobs import OCI, RemoteImage, descriptor, digest_of, remote_image
from support.containers import complaint
from support.store import Store, temporary_store
from support.tar_files import Entry, tar_of

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Platform
from kernel_sandbox.storage import tar, tar_writing
from kernel_sandbox.storage.archives import members
from kernel_sandbox.storage.archives.directory import DirectoryMembers
from kernel_sandbox.storage.archives.members import ArchiveMembers
from kernel_sandbox.storage.archives.reading import Found, read_archive, read_layout
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging

pytestmark = pytest.mark.same_for_every_user

AMD64 = Platform(os="linux", architecture="amd64")
IMAGE = remote_image([Entry("file", content="good")])
SECRET = b"nobody is to read this"
MIB = 1 << 20
LONG = "x" * (3 * MIB)


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayout:
    made = ImageLayout(tmp_path / "oci", Staging(tmp_path / "staging"))
    made.ensure()
    return made


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with temporary_store() as made:
        yield made


def load(layout: ImageLayout, archive: bytes) -> tuple[Found, ...]:
    taken = ArchiveMembers(layout)
    taken.read(io.BytesIO(archive))
    return read_archive(taken, None, AMD64)


def refused(action: Callable[[], object], seconds: float = 15) -> str:
    """The one line, which has to come soon."""
    started = time.monotonic()
    with pytest.raises(CorruptContent) as raised:
        action()
    assert time.monotonic() - started < seconds
    assert str(raised.value).isprintable()
    return str(raised.value)


# Directories


def directory(place: Path) -> Path:
    """The image as an OCI image layout."""
    for name, content in archives.oci_files(IMAGE, "made:1").items():
        file = place / "layout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return place / "layout"


def read_directory(layout: ImageLayout, place: Path) -> tuple[Found, ...]:
    descriptor_ = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_layout(DirectoryMembers(layout, descriptor_), None, AMD64)
    finally:
        os.close(descriptor_)


LAYER = f"blobs/{IMAGE.layers[0].replace(':', '/')}"
STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "a link to the host": lambda path: path.symlink_to("/etc/passwd"),
    "a link upwards": lambda path: path.symlink_to("../" * 20 + "etc/passwd"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a descriptor": lambda path: path.symlink_to("/proc/self/fd/0"),
    "a terabyte of holes": lambda path: path.touch() or os.truncate(path, 1 << 40),
}


@pytest.mark.parametrize("name", ["index.json", LAYER])
@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_what_is_no_file_of_a_directory_is_not_read(layout, tmp_path, name, make):
    place = directory(tmp_path)
    (place / name).unlink()
    make(place / name)
    open_before = len(os.listdir("/proc/self/fd"))
    refused(lambda: read_directory(layout, place), 3)
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert not list((tmp_path / "staging").iterdir())


@pytest.mark.parametrize("where", ["blobs", "blobs/sha256"])
def test_a_directory_of_a_directory_may_be_elsewhere_inside_and_nowhere_outside(layout, tmp_path, where):
    place = directory(tmp_path)
    (tmp_path / "outside").mkdir()
    (place / where).rename(tmp_path / "outside/blobs")
    (place / where).symlink_to(tmp_path / "outside/blobs")
    refused(lambda: read_directory(layout, place))


@pytest.mark.parametrize("name", ["a pipe", "a directory"])
def test_the_command_line_refuses_such_a_directory_in_one_line(store, tmp_path, name):
    place = directory(tmp_path)
    (place / LAYER).unlink()
    STRANGE[name](place / LAYER)
    assert "no 'blobs/sha256" in complaint(store.cli("load", "-q", "-i", place, timeout=20), 1)
    assert not store.cli("images", "-q", check=True).stdout


# Time and space


def same_manifest_again() -> bytes:
    big = IMAGE.altered(lambda document: document.update(annotations={"a": LONG}))
    entries = [{**descriptor(big.manifest, OCI["manifest"]), "annotations": {"a": str(n)}} for n in range(1000)]
    return archives.packed(archives.layout_files(entries, big))


def same_configuration_again() -> bytes:
    files = archives.docker_files(IMAGE, "made:1")
    (item,) = json.loads(files["manifest.json"])
    config = {**json.loads(IMAGE.blobs[IMAGE.id]), "comment": LONG}
    items = [{**item, "Config": "big", "RepoTags": [f"made:{n}"]} for n in range(1000)]
    return archives.packed({**files, "big": json.dumps(config).encode(), "manifest.json": json.dumps(items).encode()})


def layers_without_end() -> bytes:
    files = archives.docker_files(IMAGE, "made:1")
    (item,) = json.loads(files["manifest.json"])
    names = [f"layer{n}" for n in range(3000)]
    return archives.packed(
        {**files, **dict.fromkeys(names, b"x"), "manifest.json": json.dumps([{**item, "Layers": names}]).encode()}
    )


def one_layer_for_all() -> bytes:
    """127 old images whose layers are links to one, which takes a while to read."""
    slow = gzip.compress(tar_of([Entry("zeros", content=bytes(16 * MIB))]))
    files = {"slow": slow, "repositories": json.dumps({"made": {str(n): str(n) for n in range(127)}}).encode()}
    for n in range(127):
        parent = str(n - 1) if n else ""
        files |= {f"{n}/json": json.dumps({"id": str(n), "parent": parent}).encode(), f"{n}/layer.tar@": b"../slow"}
    return archives.packed({**files, "126/json": b'{"id": "126", "parent": "125", "os": 5}'})


LONG_WINDED = {
    "one manifest a thousand times": same_manifest_again,
    "one configuration a thousand times": same_configuration_again,
    "thousands of layers": layers_without_end,
    "one layer a thousand times": one_layer_for_all,
}


@pytest.mark.parametrize("make", LONG_WINDED.values(), ids=LONG_WINDED)
def test_a_small_archive_is_no_work_without_end(layout, monkeypatch, make):
    monkeypatch.setattr(members, "MAX_READINGS", 12 * MIB)
    refused(lambda: load(layout, make()))


class Endless:
    """An archive that is made while it is read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def read(self, size: int, /) -> bytes:
        self._left = self._left or next(self._blocks, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data


def headers(kind: bytes, *records: tuple[bytes, bytes]) -> bytes:
    data = b"".join(tar_writing._record(*record) for record in records)
    return tar_writing._ustar(kind, kind, 0o644, 0, 0, len(data), 0) + data + bytes(-len(data) % tar.BLOCK)


def global_headers() -> Iterator[bytes]:
    """Each is to be remembered for all that follow, and nothing does."""
    number = 0
    while True:
        yield headers(b"g", (b"k%d" % number, b"v" * (MIB - 64)))
        number += 1


def a_map_without_lines() -> Iterator[bytes]:
    """A sparse file whose map is one number of a gigabyte, looked through again with each block of it."""
    map_ = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1"))
    yield headers(b"x", *map_) + tar_writing.header(tar.Entry(b"f", tar.Kind.FILE, size=1 << 30))
    while True:
        yield b"1" * MIB


@pytest.mark.parametrize("make", [global_headers, a_map_without_lines])
def test_an_archives_headers_neither_fill_the_memory_nor_take_for_ever(make):
    refused(lambda: [None for _ in tar.TarReader(Endless(make()))], 3)


# Names, and what is here already


@pytest.mark.parametrize(
    "name", ["a\nkernel-sandbox: all is well", "\x1b]0;title\x07", "\x9b31m", "\u202e", "a/../b:1", "sha256:1", "-f"]
)
def test_an_archive_cannot_give_an_image_a_name_that_is_none(layout, name):
    refused(lambda: load(layout, archives.packed(archives.docker_files(IMAGE, name))))


def claiming(layers: list[bytes], author: str) -> RemoteImage:
    """An image with the configuration of ours, and these bytes as its layer, or as the same layer several times."""
    ours = json.loads(IMAGE.blobs[IMAGE.id])
    ours["rootfs"]["diff_ids"] *= len(layers)
    config = json.dumps({**ours, "author": author}).encode()
    blobs = {digest_of(each): each for each in (config, *layers)}
    changed = IMAGE.altered(
        lambda document: document.update(
            config=descriptor(config, OCI["config"]), layers=[descriptor(each, OCI["layer+gzip"]) for each in layers]
        )
    )
    return RemoteImage(changed.manifest, changed.media_type, blobs)


def test_other_bytes_of_an_archive_are_not_taken_for_a_layer_that_is_here(store, tmp_path):
    file = tmp_path / "archive"
    file.write_bytes(archives.packed(archives.oci_files(IMAGE, "good:1")))
    store.cli("load", "-q", "-i", file, check=True)
    liar = claiming([gzip.compress(tar_of([Entry("file", content="evil")]))], "a liar")
    file.write_bytes(archives.packed(archives.oci_files(liar, "evil:1")))
    complaint(store.cli("load", "-q", "-i", file), 1)
    honest = claiming([gzip.compress(gzip.decompress(IMAGE.blobs[IMAGE.layers[0]]), 1)], "compressed otherwise")
    file.write_bytes(archives.packed(archives.oci_files(honest, "honest:1")))
    store.cli("load", "-q", "-i", file, check=True)
    names = store.cli("images", "--format", "{{.Repository}}", check=True).stdout.split()
    assert sorted(names) == ["good", "honest"]
    assert not list((store.home / "staging").iterdir())


def test_other_bytes_are_not_taken_for_a_layer_that_is_here_since_it_comes_again_above(store, tmp_path):
    file = tmp_path / "archive"
    file.write_bytes(archives.packed(archives.oci_files(IMAGE, "good:1")))
    store.cli("load", "-q", "-i", file, check=True)
    evil = gzip.compress(tar_of([Entry("file", content="evil")]))
    liar = claiming([evil, IMAGE.blobs[IMAGE.layers[0]]], "a liar")
    file.write_bytes(archives.packed(archives.oci_files(liar, "evil:1")))
    complaint(store.cli("load", "-q", "-i", file), 1)


def test_an_archive_is_not_read_through_its_own_links(layout, tmp_path):
    """Links of an archive lead to its members, whatever the host has by that name."""
    (tmp_path / "secret").write_bytes(SECRET)
    links = {f"{name}@": str(tmp_path / "secret").encode() for name in ("manifest.json", "index.json", "repositories")}
    refused(lambda: load(layout, archives.packed(links)))
    files = archives.docker_files(IMAGE, "made:1")
    config = next(name for name in files if name.endswith(".json") and name != "manifest.json")
    files[f"{config}@"] = str(tmp_path / "secret").encode()
    del files[config]
    refused(lambda: load(layout, archives.packed(files)))
    assert not layout.has(Digest.of(SECRET))


@pytest.mark.parametrize("is_dangling", [True, False])
def test_saving_onto_a_link_leaves_alone_what_it_leads_to(store, tmp_path, is_dangling):
    file, target = tmp_path / "archive", tmp_path / "target"
    file.write_bytes(archives.packed(archives.oci_files(IMAGE, "good:1")))
    store.cli("load", "-q", "-i", file, check=True)
    if not is_dangling:
        target.write_bytes(SECRET)
    (tmp_path / "link").symlink_to(target)
    refusal = store.cli("save", "-o", tmp_path / "link", "good:1")
    assert "cannot write to a symbolic link" in complaint(refusal, 1)
    assert (tmp_path / "link").is_symlink()
    assert target.exists() is not is_dangling
    assert is_dangling or target.read_bytes() == SECRET
    refusal = store.cli("save", "--format", "oci-dir", "-o", tmp_path / "link", "good:1")
    complaint(refusal, 1)
