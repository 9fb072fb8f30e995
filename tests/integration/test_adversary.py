"""A registry is a stranger: whatever it says, a pull ends in one line, keeps nothing, and tells nobody a secret.

The adversary and its ways are in ``support/adversary``; hostile layers by themselves are in ``test_hostile_images``.
"""

import gzip
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.adversary import (
    answer,
    cut_after,
    dripping,
    endless,
    only,
    redirect,
    without_ranges,
)
from support.blobs import DOCKER, OCI, descriptor, digest_of, index_of, remote_image
from support.containers import complaint
from support.tar_files import Entry, directory, link

from kernel_sandbox.errors import SandboxError

pytestmark = pytest.mark.same_for_every_user

REPOSITORY = "library/image"
PASSWORD = "a-secret-that-nobody-sees"
CONTENT = bytes(range(256)) * 1500
IMAGE = remote_image([Entry("file", content=CONTENT)], compression="")
LAYER = IMAGE.layers[0]
LAYER_BYTES = IMAGE.blobs[LAYER]
MIB = 1 << 20


# Documents


def test_a_manifest_that_is_not_the_one_asked_for_by_digest_is_refused(client, bench):
    bench.put(IMAGE)
    other = IMAGE.altered(lambda document: document.update(annotations={"a": "b"}))
    bench.behave(only("/manifests/", answer(other.manifest, headers={"Content-Type": OCI["manifest"]})))
    assert IMAGE.digest in client.refusal(f"{bench.host}/{REPOSITORY}@{IMAGE.digest}")


@pytest.mark.parametrize("claimed", [digest_of(b""), "sha256:../x", "x" * 5000, "sha256:\x7f"])
def test_a_registry_that_gives_a_manifest_another_digest_is_refused(client, bench, claimed):
    headers = {"Content-Type": OCI["manifest"], "Docker-Content-Digest": claimed}
    bench.behave(only("/manifests/", answer(IMAGE.manifest, headers=headers)))
    client.refusal(bench.put(IMAGE))


@pytest.mark.parametrize("is_honest", [True, False], ids=["as it says", "without end"])
def test_a_manifest_of_100_megabytes_is_not_read(client, bench, is_honest):
    # CVE-2024-3727 and kin: whoever reads it to its end has no memory left.
    padded = b" " * (100 * MIB)
    huge = answer(padded) if is_honest else endless(b" " * 65536, headers={"Content-Type": OCI["manifest"]})
    bench.behave(only("/manifests/", huge))
    assert "bytes" in client.refusal(bench.put(IMAGE))


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def alter(document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return alter


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "layers and manifests": lambda document: document.update(manifests=[descriptor(b"", OCI["manifest"])]),
    "manifests of an index, layers besides": lambda document: document.update(
        mediaType=OCI["index"], manifests=[descriptor(b"", OCI["manifest"])]
    ),
    "another type inside": _set("mediaType", to=DOCKER["index"]),
    "a type that is a number": _set("mediaType", to=7),
    "a type of a megabyte": _set("mediaType", to="x" * MIB),
    "a digest that is a number": _set("layers", 0, "digest", to=5),
    "a digest that leads upwards": _set("layers", 0, "digest", to="sha256:../x"),
    "a long digest that leads upwards": _set("layers", 0, "digest", to="sha256:" + "../" * 21 + "x"),
    "a digest that is too short": _set("layers", 0, "digest", to=LAYER[:-1]),
    "a digest in capitals": _set("layers", 0, "digest", to=LAYER.upper()),
    "a digest with a newline": _set("layers", 0, "digest", to=LAYER + "\n"),
    "a weak digest": _set("layers", 0, "digest", to="md5:d41d8cd98f00b204e9800998ecf8427e"),
    "a configuration that leads upwards": _set("config", "digest", to="sha256:../../../etc/passwd"),
    "no configuration": lambda document: document.pop("config"),
    "no layers": lambda document: document.pop("layers"),
    "layers that are none": _set("layers", to={}),
    "a layer too few": _set("layers", to=[]),
    "a layer too many": lambda document: document["layers"].append(document["layers"][0]),
    "ten thousand layers": lambda document: document["layers"].extend(document["layers"] * 10_000),
    "a size that is text": _set("layers", 0, "size", to="12"),
    "a size below zero": _set("layers", 0, "size", to=-1),
    "a size beyond all": _set("layers", 0, "size", to=1 << 70),
    "a size that is a fraction": _set("layers", 0, "size", to=len(LAYER_BYTES) + 0.5),
    "a size too small": _set("layers", 0, "size", to=len(LAYER_BYTES) - 1),
    "a size too large": _set("layers", 0, "size", to=len(LAYER_BYTES) + 1),
    "a configuration of a gigabyte": _set("config", "size", to=1 << 30),
    "a version of long ago": lambda document: document.update(schemaVersion=1, mediaType=""),
    "a layer of no known type": _set("layers", 0, "mediaType", to="application/x-sh"),
    "a configuration of no known type": _set("config", "mediaType", to="application/vnd.example.chart+json"),
}


@pytest.mark.parametrize("alter", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_lies_is_refused(client, bench, alter):
    client.refusal(bench.put(IMAGE.altered(alter)))


DOCUMENTS = {
    "nothing": b"",
    "no document": b"\x1f\x8b\x00\x00not JSON",
    "a list": b"[]",
    "null": b"null",
    "a document that is as deep as it is long": b"[" * 100_000,
    "objects in each other": b'{"a":' * 100_000,
    "no UTF-8": b'{"mediaType": "\xff\xfe"}',
    "a number without end": b'{"schemaVersion": ' + b"9" * 100_000 + b"}",
    "two documents": IMAGE.manifest * 2,
}


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_manifest_that_is_none_is_refused(client, bench, content):
    bench.put_manifest(content, OCI["manifest"], REPOSITORY, "latest")
    client.refusal(f"{bench.host}/{REPOSITORY}:latest")


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_configuration_that_is_none_is_refused(client, bench, content):
    bench.blobs[digest_of(content)] = content
    client.refusal(bench.put(IMAGE.altered(_set("config", to=descriptor(content, OCI["config"])))))


CONFIGURATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no layers": lambda document: document.pop("rootfs"),
    "a layer that leads upwards": _set("rootfs", "diff_ids", to=["sha256:../../x"]),
    "a layer that is another": _set("rootfs", "diff_ids", to=[digest_of(b"another")]),
    "one layer too many": lambda document: document["rootfs"]["diff_ids"].append(LAYER),
    "layers that are numbers": _set("rootfs", "diff_ids", to=[1]),
    "variables that are numbers": _set("config", to={"Env": [1]}),
    "labels that are a list": _set("config", to={"Labels": ["a"]}),
}


@pytest.mark.parametrize("alter", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_configuration_that_lies_is_refused(client, bench, alter):
    document = json.loads(IMAGE.blobs[IMAGE.id])
    alter(document)
    content = json.dumps(document).encode()
    bench.blobs[digest_of(content)] = content
    client.refusal(bench.put(IMAGE.altered(_set("config", to=descriptor(content, OCI["config"])))))


def test_an_index_of_other_platforms_is_refused_with_what_there_is(client, bench):
    bench.put(IMAGE)
    bench.put_manifest(index_of({"plan9/mips": IMAGE, "linux/s390x": IMAGE}), OCI["index"], REPOSITORY, "latest")
    text = client.refusal(f"{bench.host}/{REPOSITORY}", platform="linux/arm/v7")
    assert "linux/arm/v7" in text
    assert "plan9/mips" in text


def test_indexes_in_indexes_have_an_end(client, bench):
    content, kind = IMAGE.manifest, IMAGE.media_type
    bench.put(IMAGE)
    for _ in range(5):
        entry = {**descriptor(content, kind), "platform": {"os": "linux", "architecture": "amd64"}}
        document = {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": [entry]}
        content, kind = json.dumps(document).encode(), OCI["index"]
        bench.put_manifest(content, kind, REPOSITORY, "latest")
    client.refusal(f"{bench.host}/{REPOSITORY}", platform="linux/amd64")


def test_an_entry_of_an_index_has_the_size_it_says(client, bench):
    bench.put(IMAGE)
    document = json.loads(index_of({"linux/amd64": IMAGE}))
    document["manifests"][0]["size"] += 1
    bench.put_manifest(json.dumps(document).encode(), OCI["index"], REPOSITORY, "latest")
    client.refusal(f"{bench.host}/{REPOSITORY}", platform="linux/amd64")


@pytest.mark.parametrize("tags", [b'{"tags": ["../x", 5]}', b'{"tags": "x"}', b"[" * 9999, b""])
def test_a_list_of_tags_that_lies_is_refused(client, bench, tags):
    bench.put(IMAGE)
    bench.behave(only("/tags/", answer(tags)))
    with client.registries() as registries, pytest.raises(SandboxError) as raised:
        registries.repository(bench.host, REPOSITORY).tags()
    assert str(raised.value).isprintable()


# Blobs

BLOBS = {
    "another of the same size": answer(bytes(len(LAYER_BYTES))),
    "a shorter one": answer(LAYER_BYTES[:-1]),
    "a longer one": answer(LAYER_BYTES + b"x"),
    "nothing": answer(b""),
    "one without end": endless(),
    "one without end that begins well": endless(LAYER_BYTES),
    "a part, always the same": only("", cut_after(0, LAYER_BYTES)),
    "one that is promised longer": answer(LAYER_BYTES, length=len(LAYER_BYTES) + 5),
    "one that is promised in petabytes": answer(LAYER_BYTES, length=1 << 50),
    "a part that nobody asked for": answer(
        LAYER_BYTES[5:], 206, {"Content-Range": f"bytes 5-{len(LAYER_BYTES) - 1}/*"}
    ),
    "an answer without content": answer(status=204),
    "an error": answer(b"<html>\x1b[31m" + b"x" * 100_000, 500),
    "a digest that is another": answer(LAYER_BYTES, headers={"Docker-Content-Digest": digest_of(b"")}),
    "compressed once more": answer(gzip.compress(LAYER_BYTES), headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("behaviour", BLOBS.values(), ids=BLOBS)
def test_a_blob_that_is_not_what_its_manifest_says_is_refused(client, bench, behaviour):
    bench.behave(only(f"/blobs/{LAYER}", behaviour))
    client.refusal(bench.put(IMAGE))


def test_a_blob_that_drips_is_given_up(client, bench):
    bench.behave(only(f"/blobs/{LAYER}", endless(b"x", pause=0.05, headers={"Content-Length": str(len(LAYER_BYTES))})))
    started = time.monotonic()
    client.refusal(bench.put(IMAGE))
    assert time.monotonic() - started < 30


def test_a_download_that_breaks_goes_on_where_it_was(client, bench):
    bench.behave(only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=2))
    client.pull_and_forget(IMAGE, bench.put(IMAGE))
    asked = [each.headers.get("Range") for each in bench.asked(f"GET .*/blobs/{LAYER}")]
    assert asked == [None, "bytes=150000-", "bytes=300000-"]


def test_a_download_that_breaks_begins_again_where_there_are_no_ranges(client, bench):
    bench.behave(
        only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=1),
        only(f"GET .*/blobs/{LAYER}", without_ranges(LAYER_BYTES)),
    )
    client.pull_and_forget(IMAGE, bench.put(IMAGE))


def test_a_download_that_goes_on_with_something_else_is_refused(client, bench):
    other = bytes(len(LAYER_BYTES))
    bench.behave(
        only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=1),
        only(f"GET .*/blobs/{LAYER}", cut_after(len(other), other)),
    )
    client.refusal(bench.put(IMAGE))


# Patience


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(client, bench, status):
    bench.behave(
        only("/manifests/", answer(status=status, headers={"Retry-After": "0"}), times=1),
        only("/blobs/", answer(status=status), times=1),
    )
    client.pull_and_forget(IMAGE, bench.put(IMAGE))


@pytest.mark.parametrize(
    "value", ["31536000", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 32 Foo 2026", "-1", "1e9", "\u0663"]
)
def test_nobody_waits_for_a_year(client, bench, value):
    headers = {"Retry-After": value.encode().decode("latin-1")}
    bench.behave(only("/manifests/", answer(status=503, headers=headers)))
    started = time.monotonic()
    client.refusal(bench.put(IMAGE))
    assert time.monotonic() - started < 30


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "a header without end": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "answers before the answer": dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a chunk's length without end": dripping(_CHUNKED, b"1;x\r\nx\r\n"),
    "an extension without end": dripping(_CHUNKED + b"1;", b"x"),
    "a trailer without end": dripping(_CHUNKED + b"1\r\nx\r\n0\r\n", b"A: b\r\n"),
}


@pytest.mark.parametrize("behaviour", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_is_given_up(client, bench, behaviour):
    bench.behave(only("/manifests/", behaviour))
    started = time.monotonic()
    client.refusal(bench.put(IMAGE))
    assert time.monotonic() - started < 10


def test_a_server_that_says_nothing_is_given_up(client, bench):
    bench.behave(only("/manifests/", lambda exchange: not time.sleep(5) and exchange.cut()))
    started = time.monotonic()
    client.refusal(bench.put(IMAGE))
    assert time.monotonic() - started < 10


# Layers

LAYERS = {
    "a name that leads upwards": [Entry("../escaped", content="x")],
    "a name that is absolute and leads upwards": [Entry("/../../escaped", content="x")],
    "a name through a link": [link("out", "{outside}"), Entry("out/escaped", content="x")],
    "a hard link to the host's": [Entry("escaped", "hard", "{outside}/file")],
    "etc that leads out": [link("etc", "{outside}"), directory("etc/escaped"), Entry("etc/escaped/x", content="x")],
    "a whiteout of itself": [Entry(".wh.."), Entry(".wh..."), Entry("a/.wh..")],
    "a whiteout upwards": [Entry("../.wh.file")],
}


@pytest.mark.parametrize("entries", LAYERS.values(), ids=LAYERS)
def test_a_layer_of_a_registry_writes_nothing_outside(client, bench, tmp_path, entries):
    (tmp_path / "file").write_text("the host's")
    placed = [_placed(entry, tmp_path) for entry in entries]
    name = bench.put(remote_image(placed))
    try:
        client.pull(name)
    except SandboxError as error:
        assert str(error).isprintable()
    else:
        client.forget(name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not [path for path in client.store.home.rglob("escaped") if "/layers/" not in str(path)]
    assert not list((client.store.home / "layers").iterdir())


def _placed(entry: Entry, outside: Path) -> Entry:
    content = str(entry.content).replace("{outside}", str(outside)) if entry.kind in ("link", "hard") else entry.content
    return Entry(entry.name, entry.kind, content, entry.mode)


BOMB = 10 << 30
PIECE = 64 * MIB


def _bomb(compress: Callable[[bytes], bytes]) -> bytes:
    """10 GiB of zeros as one file of a layer, from pieces that are compressed once."""
    member = tarfile.TarInfo("zeros")
    member.size = BOMB
    head = member.tobuf(tarfile.GNU_FORMAT)
    piece = compress(bytes(PIECE))
    return compress(head) + piece * (BOMB // PIECE) + compress(bytes(10240 - len(head)))


def _zstd(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_bomb_in_a_registry_is_refused_quickly(client, bench, compression):
    blob = _bomb(gzip.compress if compression == "gzip" else _zstd)
    image = remote_image([Entry("x")], compress=lambda archive: blob, compression=compression)
    assert len(blob) < 12 * MIB
    started = time.monotonic()
    text = client.refusal(bench.put(image))
    assert time.monotonic() - started < 20
    assert "digest" not in text, "it was unpacked to its end"


# The command line


@pytest.mark.parametrize("behaviour", [BLOBS["another of the same size"], answer(b"[" * 9999), redirect("file:///x")])
def test_the_command_line_tells_it_in_one_line(client, bench, behaviour):
    bench.behave(only(LAYER, behaviour))
    with client.nothing_kept():
        complaint(client.store.cli("pull", "-q", bench.put(IMAGE), env=client.environ()), 1)
