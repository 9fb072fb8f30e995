"""Archives of images: what is written is read again byte for byte, in every form; nothing else is ever believed."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import archives
from support.blobs import DOCKER, OCI, RemoteImage, descriptor, digest_of, index_of, remote_image
from support.store import temporary_store
from support.tar_files import Entry, tar_of

from kernel_sandbox.errors import CorruptContent, NotFound, SandboxError
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Descriptor, ImageConfig, Manifest, Platform, decode
from kernel_sandbox.storage.archives import members as limits
from kernel_sandbox.storage.archives.directory import DirectoryMembers
from kernel_sandbox.storage.archives.members import ArchiveMembers
from kernel_sandbox.storage.archives.reading import Found, read_archive, read_layout
from kernel_sandbox.storage.archives.writing import Chosen, Form, write_archive, write_directory
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
NAME = reference.parse("made:1")


@pytest.fixture(scope="module")
def layouts() -> Iterator[object]:
    """Makes empty image layouts."""
    with temporary_store() as store:
        store.home.mkdir(exist_ok=True)
        yield lambda: _layout(store.home / os.urandom(8).hex())


def _layout(path: Path) -> ImageLayout:
    layout = ImageLayout(path, Staging(path.parent / f"{path.name}.staging"))
    layout.ensure()
    return layout


def image(*contents: str, **fields) -> RemoteImage:
    """An image with a layer for each content."""
    return remote_image(*([Entry("file", content=each)] for each in contents), **fields)


def stored(layout: ImageLayout, it: RemoteImage) -> Chosen:
    for content in (*it.blobs.values(), it.manifest):
        layout.put(content)
    manifest = Descriptor(media_type=it.media_type, digest=Digest(it.digest), size=len(it.manifest))
    return Chosen(manifest, (NAME,))


def compressed(it: RemoteImage) -> tuple[str, ...]:
    """The digests of the layers that are compressed."""
    return tuple(digest for digest in it.layers if it.blobs[digest].startswith(b"\x1f\x8b"))


def written(layout: ImageLayout, chosen: list[Chosen], form: Form) -> bytes:
    out = io.BytesIO()
    write_archive(layout, chosen, form, out)
    return out.getvalue()


def read(layout: ImageLayout, archive: bytes, wanted: Platform | None = None) -> tuple[Found, ...]:
    members = ArchiveMembers(layout)
    members.read(open_compressed(io.BytesIO(archive)))
    return read_archive(members, wanted, AMD64)


def config_of(layout: ImageLayout, found: Found) -> bytes:
    return layout.read(decode(Manifest, layout.read(found.manifest)).config.digest)


def test_layers_that_come_plain_are_no_bombs_however_small_they_become(layouts):
    """Docker writes them so, and a file of zeros shrinks a thousand times when it is compressed here."""
    it = image("one", "two")
    (plain,) = read(layouts(), archives.packed(archives.docker_files(it, "made:1")))
    assert len(plain.compressed) == len(it.layers)
    (other,) = read(layouts(), archives.packed(archives.oci_files(it, "made:1")))
    assert not other.compressed


@pytest.mark.parametrize("name", ["blobs/sha256/.DS_Store", "blobs/sha256/tmp-1", "blobs/md5/x", "blobs/sha256/A"])
def test_what_else_lies_among_the_blobs_of_an_archive_is_nobodys_business(layouts, name):
    assert len(read(layouts(), archives.packed({**archives.oci_files(image("one"), "made:1"), name: b"anything"}))) == 1


images = st.builds(
    lambda contents, types, compression, more: remote_image(
        *contents, types=types, compression=compression, config={"Labels": more},
        compress=gzip.compress if compression == "gzip" else None,
    ),
    st.lists(st.binary(max_size=600).map(lambda data: tar_of([Entry("file", content=data)])), max_size=4),
    st.sampled_from((OCI, DOCKER)), st.sampled_from(("gzip", "")),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)  # fmt: skip


@FEW
@given(it=images, form=st.sampled_from(list(Form)[:2]))
def test_what_is_written_is_read_byte_for_byte(layouts, it, form):
    here, there = layouts(), layouts()
    archive = written(here, [stored(here, it)], form)
    (found,) = read(there, archive)
    assert found.names == (str(NAME),)
    assert config_of(there, found) == it.blobs[it.id]
    if form is Form.OCI_ARCHIVE or it.layers == compressed(it):
        assert found.manifest == it.digest
        assert {digest: there.read(Digest(digest)) for digest in it.blobs} == it.blobs
        assert written(there, [stored(there, it)], form) == archive


def test_a_store_that_is_damaged_is_not_saved(layouts):
    layout, it = layouts(), image("a")
    chosen = [stored(layout, it)]
    for damaged in (gzip.compress(b"other"), b""):
        Path(layout.blob_path(Digest(it.layers[0]))).write_bytes(damaged)
        with pytest.raises(CorruptContent):
            written(layout, chosen, Form.OCI_ARCHIVE)
    layout.remove(Digest(it.layers[0]))
    with pytest.raises(NotFound):
        written(layout, chosen, Form.OCI_ARCHIVE)


def test_a_directory_is_read_byte_for_byte(layouts, tmp_path):
    here, there, it = layouts(), layouts(), image("a", "b")
    write_directory(here, [stored(here, it)], str(tmp_path))
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_layout(DirectoryMembers(there, directory), None, AMD64) == (Found(it.digest, (str(NAME),)),)
    finally:
        os.close(directory)
    assert there.digests() == tuple(sorted((*it.blobs, it.digest)))


def test_a_directorys_links_lead_nowhere_outside(layouts, tmp_path):
    here, there, it = layouts(), layouts(), image("a")
    (tmp_path / "in").mkdir()
    write_directory(here, [stored(here, it)], str(tmp_path / "in"))
    blob = tmp_path / "in/blobs" / it.layers[0].replace(":", "/")
    blob.rename(tmp_path / "outside")
    directory = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        for target in (tmp_path / "outside", "../../../outside", "/proc/self/fd/0", "/dev/zero"):
            blob.symlink_to(target)
            with pytest.raises(CorruptContent):
                read_layout(DirectoryMembers(there, directory), None, AMD64)
            blob.unlink()
        os.mkfifo(blob)
        with pytest.raises(CorruptContent):
            read_layout(DirectoryMembers(there, directory), None, AMD64)
    finally:
        os.close(directory)


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_dockers_old_layout_keeps_the_configuration_in_every_compression(layouts, compress):
    it = image("one", "two", "one", config={"Unknown": {"b": [1, 2.5], "a": None}})
    layout = layouts()
    (found,) = read(layout, compress(archives.packed(archives.docker_files(it, "made:1", "also/made:2"))))
    assert found.names == ("docker.io/library/made:1", "docker.io/also/made:2")
    assert config_of(layout, found) == it.blobs[it.id]
    manifest = decode(Manifest, layout.read(found.manifest))
    assert [gzip.decompress(layout.read(each.digest)) for each in manifest.layers] == archives.plain_layers(it)
    assert manifest.layers[0] == manifest.layers[2]
    assert {each.media_type for each in manifest.layers} == {OCI["layer+gzip"]}


def test_layers_in_compressions_that_no_layer_may_have_are_compressed_again(layouts):
    it = image("one", "two")
    files = archives.docker_files(it, "made:1")
    for name, content in files.items():
        if name.endswith("layer.tar"):
            files[name] = lzma.compress(content)
    layout = layouts()
    (found,) = read(layout, archives.packed(files))
    manifest = decode(Manifest, layout.read(found.manifest))
    assert [gzip.decompress(layout.read(each.digest)) for each in manifest.layers] == archives.plain_layers(it)


def test_a_new_docker_archive_keeps_its_manifest_where_its_layers_are_compressed(layouts):
    it = image("one", "two")
    (found,) = read(layouts(), archives.packed(archives.new_docker_files(it, "made:1")))
    assert found == Found(Digest(it.digest), ("docker.io/library/made:1",))


def test_a_manifest_in_a_nested_index_beside_dockers_is_kept(layouts):
    it = image("one")
    index = index_of({"linux/amd64": it})
    nested_ = archives.layout_files([descriptor(index, OCI["index"])], it)
    files = {**archives.new_docker_files(it, "made:1"), **nested_, f"blobs/{digest_of(index).replace(':', '/')}": index}
    (found,) = read(layouts(), archives.packed(files))
    assert found == Found(Digest(it.digest), ("docker.io/library/made:1",))


def test_a_new_docker_archive_with_plain_layers_gets_them_compressed(layouts):
    it = image("one", "two", compression="")
    layout = layouts()
    (found,) = read(layout, archives.packed(archives.new_docker_files(it, "made:1")))
    assert found.manifest != it.digest
    assert config_of(layout, found) == it.blobs[it.id]
    manifest = decode(Manifest, layout.read(found.manifest))
    assert [gzip.decompress(layout.read(each.digest)) for each in manifest.layers] == archives.plain_layers(it)


def test_the_layout_of_2013_gets_the_configuration_that_docker_gives_it(layouts):
    layers = [tar_of([Entry("a", content="1")]), tar_of([Entry("b", content="2")])]
    layout = layouts()
    (found,) = read(layout, archives.packed(archives.old_files(layers, "old/image", "1")))
    assert found.names == ("docker.io/old/image:1",)
    config = json.loads(config_of(layout, found))
    assert list(config) == sorted(config)
    assert {"architecture", "config", "history", "rootfs"} < set(config) and not {"id", "parent", "Size"} & set(config)
    assert config["rootfs"]["diff_ids"] == [digest_of(layer) for layer in layers]
    assert [step["created_by"] for step in config["history"]] == [
        f"/bin/sh -c step {number} && é > <b>" for number in range(2)
    ]


def nested(*platforms: str) -> tuple[bytes, dict[str, RemoteImage]]:
    """An archive whose index holds an index of images for these platforms, named ``many:1``."""
    found = {name: image(name, machine=tuple(name.split("/")[:2])) for name in platforms}
    index = index_of(found)
    entry = {
        **descriptor(index, OCI["index"]),
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/many:1"},
    }
    files = archives.layout_files([entry], *found.values())
    return archives.packed({**files, f"blobs/{digest_of(index).replace(':', '/')}": index}), found


def test_of_a_nested_index_the_machines_image_is_taken_or_the_wanted_one(layouts):
    archive, found = nested("linux/arm64", "linux/amd64")
    assert read(layouts(), archive) == (Found(found["linux/amd64"].digest, ("docker.io/library/many:1",)),)
    assert read(layouts(), archive, ARM64) == (Found(found["linux/arm64"].digest, ("docker.io/library/many:1",)),)
    with pytest.raises(NotFound, match=r"linux/s390x.*linux/arm64, linux/amd64"):
        read(layouts(), archive, Platform(os="linux", architecture="s390x"))


def test_an_archive_for_another_platform_only_is_refused_by_name(layouts):
    archive = archives.packed(archives.docker_files(image("a"), "made:1"))
    with pytest.raises(NotFound, match=r"linux/arm64.*linux/amd64"):
        read(layouts(), archive, ARM64)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("docker.io/library/x:1", ("docker.io/library/x:1",)),
        ("localhost:5000/x", ("localhost:5000/x:latest",)),
        ("x/y", ("docker.io/x/y:latest",)),
        ("latest", ()),
        ("", ()),
        ("no name: at all", ()),
        (f"x@sha256:{'0' * 64}", ()),
    ],
)
def test_an_oci_archives_name_is_its_reference_and_a_bare_tag_is_none(layouts, name, known):
    (found,) = read(layouts(), archives.packed(archives.oci_files(image("a"), name)))
    assert found.names == known


def test_members_may_be_hard_links_and_lie_below_a_dot(layouts):
    it = image("one")
    layer = archives.plain_layers(it)[0]
    item = {"Config": "./c.json", "RepoTags": None, "Layers": ["/l/layer.tar"]}
    parts = [
        Entry("./c.json", content=it.blobs[it.id]),
        Entry("x", content=layer),
        Entry("./l/layer.tar", "hard", "x"),
        Entry("./manifest.json", content=json.dumps([item])),
    ]
    layout = layouts()
    (found,) = read(layout, tar_of(parts))
    assert config_of(layout, found) == it.blobs[it.id] and found.names == ()


def test_the_last_of_two_members_with_one_name_counts(layouts):
    it = image("one")
    files = archives.docker_files(it, "made:1")
    twice = [
        Entry(name, content=content) for name, content in (*dict.fromkeys(files, b"other").items(), *files.items())
    ]
    layout = layouts()
    (found,) = read(layout, tar_of(twice))
    assert config_of(layout, found) == it.blobs[it.id]


def changed(files: archives.Files, name: str, content: bytes) -> bytes:
    return archives.packed({**files, name: content})


def manifest_json(**fields) -> bytes:
    it = image("one")
    files = archives.docker_files(it, "made:1")
    item = {**json.loads(files["manifest.json"])[0], **fields}
    return changed(files, "manifest.json", json.dumps([item]).encode())


def oci_altered(alter) -> bytes:
    return archives.packed(archives.oci_files(image("one").altered(alter), "x:1"))


def without(files: archives.Files, part: str) -> bytes:
    return archives.packed({name: content for name, content in files.items() if part not in name})


def entry(**fields) -> bytes:
    it = image("one")
    return archives.packed(archives.layout_files([{**named_entry(it), **fields}], it))


def named_entry(it: RemoteImage) -> dict[str, object]:
    return archives.named(it, "x:1")


def wrong_blob() -> bytes:
    it = image("one")
    files = archives.oci_files(it, "x:1")
    name = f"blobs/{it.layers[0].replace(':', '/')}"
    return changed(files, name, gzip.compress(b"something else" * 1000))


def endless_links() -> bytes:
    links = [Entry("a", "link", "b"), Entry("b", "link", "a"), Entry("manifest.json", "link", "a")]
    return tar_of(links)


def devices() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind in (("manifest.json", tarfile.CHRTYPE), ("index.json", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
    return out.getvalue()


def old_circle() -> bytes:
    files = archives.old_files([tar_of([])], "x", "1")
    name = next(name for name in files if name.endswith("/json"))
    return changed(files, name, json.dumps({"id": "1", "parent": name.partition("/")[0]}).encode())


ONE = archives.docker_files(image("one"), "made:1")
HOSTILE = {
    "nothing": b"",
    "zeros without end": bytes(65 << 20),
    "text": b"this is no archive" * 100,
    "a root filesystem": tar_of([Entry("etc/passwd", content="root")]),
    "cut short": archives.packed(ONE)[:2000],
    "cut short in gzip": gzip.compress(archives.packed(ONE))[:-9],
    "a name that leads out": tar_of([Entry("../../manifest.json", content="[]")]),
    "links in a circle": endless_links(),
    "devices": devices(),
    "a manifest that is no list": changed(ONE, "manifest.json", b'{"Config": 1}'),
    "more images than anybody has": changed(
        ONE, "manifest.json", json.dumps(json.loads(ONE["manifest.json"]) * 1025).encode()
    ),
    "a manifest of numbers": manifest_json(Layers=[1]),
    "a manifest nested too deeply": changed(ONE, "manifest.json", b"[" * 100_000),
    "a layer that is not there": manifest_json(Layers=["../../../etc/passwd"]),
    "a layer that is a document": manifest_json(Layers=["manifest.json"]),
    "too few layers": manifest_json(Layers=[]),
    "a configuration outside": manifest_json(Config="../../etc/passwd"),
    "a configuration that is a layer": manifest_json(Config=next(n for n in ONE if n.endswith("layer.tar"))),
    "a tag that is no name": manifest_json(RepoTags=["UPPER:1"]),
    "a tag with a digest": manifest_json(RepoTags=[f"x@sha256:{'0' * 64}"]),
    "another layer": changed(ONE, next(n for n in ONE if n.endswith("layer.tar")), tar_of([Entry("other")])),
    "no configuration": without(ONE, ".json"),
    "no layer": without(archives.oci_files(image("one"), "x:1"), image("one").layers[0][7:]),
    "no manifest": without(archives.oci_files(image("one"), "x:1"), image("one").digest[7:]),
    "a blob with another digest": wrong_blob(),
    "a blob whose name is no digest": tar_of([Entry("blobs/sha256/x", content="x")]),
    "an entry of another size": entry(size=3),
    "an entry of no known kind": entry(mediaType="text/plain"),
    "an entry with a digest that is a path": entry(digest="sha256:../../x"),
    "an entry with a number for a digest": entry(digest=7),
    "a layer of another size": oci_altered(lambda it: it["layers"][0].update(size=7)),
    "a manifest that is an index, too": oci_altered(lambda it: it.update(manifests=[])),
    "old images in a circle": old_circle(),
    "old images without layers": without(archives.old_files([tar_of([])], "x", "1"), "layer.tar"),
    "an old repository that is no name": archives.packed(archives.old_files([tar_of([])], "X Y", "1")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_bad_archive_is_refused(layouts, what):
    with pytest.raises(SandboxError) as refusal:
        read(layouts(), HOSTILE[what])
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


def test_more_members_or_documents_than_any_image_has_are_refused(layouts, monkeypatch):
    monkeypatch.setattr(limits, "MAX_MEMBERS", 10)
    with pytest.raises(CorruptContent, match="members"):
        read(layouts(), tar_of(Entry(str(number)) for number in range(11)))
    monkeypatch.setattr(limits, "MAX_DOCUMENTS", 1000)
    with pytest.raises(CorruptContent, match="documents"):
        read(layouts(), tar_of([Entry("a", content=b"{" * 501), Entry("b", content=b"{" * 501)]))


def test_a_document_of_100_mb_is_never_held(layouts):
    huge = [Entry("manifest.json", content=b"[" + b" " * 100_000_000)]
    with pytest.raises(CorruptContent, match="too large"):
        read(layouts(), tar_of(huge))


@FEW
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_what_was_saved(layouts, data):
    here, it = layouts(), image("one", "two")
    archive = bytearray(written(here, [stored(here, it)], Form.DOCKER_ARCHIVE))
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    there = layouts()
    try:
        found = read(there, bytes(archive))
    except SandboxError:
        return
    for each in found:
        assert decode(ImageConfig, config_of(there, each)).rootfs.diff_ids == tuple(
            map(digest_of, archives.plain_layers(it))
        )
