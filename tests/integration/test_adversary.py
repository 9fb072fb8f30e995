"""A registry is a stranger: whatever it says, a pull ends in one line, keeps nothing, and tells nobody a secret.

The adversary and its ways are in ``support/adversary``; hostile layers by themselves are in ``test_hostile_images``.
"""

import gzip
import json
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adversary import (
    Adversary,
    Exchange,
    adversary,
    answer,
    cut_after,
    deaf_after,
    endless,
    only,
    redirect,
    without_ranges,
)
from support.blobs import DOCKER, OCI, RemoteImage, descriptor, digest_of, index_of, remote_image
from support.certificates import certificates
from support.client import Client, client_of
from support.containers import complaint
from support.store import temporary_store
from support.tar_files import Entry, directory, link

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.digest import Digest

pytestmark = pytest.mark.same_for_every_user

REPOSITORY = "library/image"
PASSWORD = "a-secret-that-nobody-sees"
CONTENT = bytes(range(256)) * 1500
IMAGE = remote_image([Entry("file", content=CONTENT)], compression="")
LAYER = IMAGE.layers[0]
LAYER_BYTES = IMAGE.blobs[LAYER]
MIB = 1 << 20


@pytest.fixture(scope="module")
def one_client() -> Iterator[Client]:
    """A store that stays empty, in this process."""
    with temporary_store() as store, client_of(store) as opened:
        yield opened


@pytest.fixture
def client(one_client: Client) -> Iterator[Client]:
    """The store, with settings and logins of the test's own."""
    yield one_client
    one_client.unconfigure()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with certificates."""
    made = tmp_path_factory.mktemp("authority")
    certificates(made)
    return made


@pytest.fixture
def bench() -> Iterator[Adversary]:
    """A registry in plain HTTP on loopback, which needs no configuration."""
    with adversary() as running:
        yield running


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host below ``.test`` is loopback, and yet no loopback by its name: nothing insecure is allowed there."""
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: found("127.0.0.1" if str(host).endswith(".test") else host, *rest, **more),
    )


def refusal(client: Client, name: str, **options: Any) -> str:
    """The one line with which a pull fails, that keeps nothing."""
    with client.nothing_kept(), pytest.raises(SandboxError) as raised:
        client.pull(name, **options)
    text = str(raised.value)
    assert raised.value.exit_code == 1, text
    assert text.isprintable()
    assert 0 < len(text) < 1000
    return text


def pulled(client: Client, name: str, image: RemoteImage = IMAGE, **options: Any) -> None:
    """The image is pulled, and what came is what it is; it is removed again."""
    client.pull(name, **options)
    try:
        assert str(client.engine.images.find(name).id) == image.id
        for digest, content in image.blobs.items():
            assert client.engine.images.layout.read(Digest.parse(digest)) == content
    finally:
        client.forget(name)


# Documents


def test_a_manifest_that_is_not_the_one_asked_for_by_digest_is_refused(client, bench):
    bench.put(IMAGE)
    other = IMAGE.altered(lambda document: document.update(annotations={"a": "b"}))
    bench.behave(only("/manifests/", answer(other.manifest, headers={"Content-Type": OCI["manifest"]})))
    assert IMAGE.digest in refusal(client, f"{bench.host}/{REPOSITORY}@{IMAGE.digest}")


@pytest.mark.parametrize("claimed", [digest_of(b""), "sha256:../x", "x" * 5000, "sha256:\x7f"])
def test_a_registry_that_gives_a_manifest_another_digest_is_refused(client, bench, claimed):
    headers = {"Content-Type": OCI["manifest"], "Docker-Content-Digest": claimed}
    bench.behave(only("/manifests/", answer(IMAGE.manifest, headers=headers)))
    refusal(client, bench.put(IMAGE))


@pytest.mark.parametrize("is_honest", [True, False], ids=["as it says", "without end"])
def test_a_manifest_of_100_megabytes_is_not_read(client, bench, is_honest):
    # CVE-2024-3727 and kin: whoever reads it to its end has no memory left.
    padded = b" " * (100 * MIB)
    huge = answer(padded) if is_honest else endless(b" " * 65536, headers={"Content-Type": OCI["manifest"]})
    bench.behave(only("/manifests/", huge))
    assert "bytes" in refusal(client, bench.put(IMAGE))


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
    "a layer that is elsewhere": _set(
        "layers", 0, "mediaType", to="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    ),
    "a layer of no known type": _set("layers", 0, "mediaType", to="application/x-sh"),
    "a configuration of no known type": _set("config", "mediaType", to="application/vnd.example.chart+json"),
}


@pytest.mark.parametrize("alter", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_lies_is_refused(client, bench, alter):
    refusal(client, bench.put(IMAGE.altered(alter)))


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
    refusal(client, f"{bench.host}/{REPOSITORY}:latest")


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_configuration_that_is_none_is_refused(client, bench, content):
    bench.blobs[digest_of(content)] = content
    refusal(client, bench.put(IMAGE.altered(_set("config", to=descriptor(content, OCI["config"])))))


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
    refusal(client, bench.put(IMAGE.altered(_set("config", to=descriptor(content, OCI["config"])))))


def test_an_index_of_other_platforms_is_refused_with_what_there_is(client, bench):
    bench.put(IMAGE)
    bench.put_manifest(index_of({"plan9/mips": IMAGE, "linux/s390x": IMAGE}), OCI["index"], REPOSITORY, "latest")
    text = refusal(client, f"{bench.host}/{REPOSITORY}", platform="linux/arm/v7")
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
    refusal(client, f"{bench.host}/{REPOSITORY}", platform="linux/amd64")


def test_an_entry_of_an_index_has_the_size_it_says(client, bench):
    bench.put(IMAGE)
    document = json.loads(index_of({"linux/amd64": IMAGE}))
    document["manifests"][0]["size"] += 1
    bench.put_manifest(json.dumps(document).encode(), OCI["index"], REPOSITORY, "latest")
    refusal(client, f"{bench.host}/{REPOSITORY}", platform="linux/amd64")


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
    refusal(client, bench.put(IMAGE))


def test_a_blob_that_drips_is_given_up(client, bench):
    bench.behave(only(f"/blobs/{LAYER}", endless(b"x", pause=0.05, headers={"Content-Length": str(len(LAYER_BYTES))})))
    started = time.monotonic()
    refusal(client, bench.put(IMAGE))
    assert time.monotonic() - started < 15


def test_a_download_that_breaks_goes_on_where_it_was(client, bench):
    bench.behave(only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=2))
    pulled(client, bench.put(IMAGE))
    asked = [each.headers.get("Range") for each in bench.asked(f"GET .*/blobs/{LAYER}")]
    assert asked == [None, "bytes=150000-", "bytes=300000-"]


def test_a_download_that_breaks_begins_again_where_there_are_no_ranges(client, bench):
    bench.behave(
        only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=1),
        only(f"GET .*/blobs/{LAYER}", without_ranges(LAYER_BYTES)),
    )
    pulled(client, bench.put(IMAGE))


def test_a_download_that_goes_on_with_something_else_is_refused(client, bench):
    other = bytes(len(LAYER_BYTES))
    bench.behave(
        only(f"GET .*/blobs/{LAYER}", cut_after(150_000, LAYER_BYTES), times=1),
        only(f"GET .*/blobs/{LAYER}", cut_after(len(other), other)),
    )
    refusal(client, bench.put(IMAGE))


# Patience


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(client, bench, status):
    bench.behave(
        only("/manifests/", answer(status=status, headers={"Retry-After": "0"}), times=1),
        only("/blobs/", answer(status=status), times=1),
    )
    pulled(client, bench.put(IMAGE))


@pytest.mark.parametrize(
    "value", ["31536000", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 32 Foo 2026", "-1", "1e9", "\u0663"]
)
def test_nobody_waits_for_a_year(client, bench, value):
    headers = {"Retry-After": value.encode().decode("latin-1")}
    bench.behave(only("/manifests/", answer(status=503, headers=headers)))
    started = time.monotonic()
    refusal(client, bench.put(IMAGE))
    assert time.monotonic() - started < 5


def test_a_server_that_says_nothing_is_given_up(client, bench):
    bench.behave(only("/manifests/", lambda exchange: not time.sleep(5) and exchange.cut()))
    started = time.monotonic()
    refusal(client, bench.put(IMAGE))
    assert time.monotonic() - started < 10


# Redirects


def test_redirects_in_a_circle_have_an_end(client, bench):
    bench.behave(only(f"/blobs/{LAYER}", redirect(lambda seen: seen.path)))
    refusal(client, bench.put(IMAGE))
    assert len(bench.asked(f"/blobs/{LAYER}")) <= 20


def test_redirects_that_never_end_have_an_end(client, bench):
    bench.behave(only("/blobs/", redirect(lambda seen: f"{seen.path}x")))
    refusal(client, bench.put(IMAGE))
    assert len(bench.asked("/blobs/")) <= 30


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "unix:///run/docker.sock",
        "data:text/plain,x",
        "javascript:x",
        "http://",
        "http://[::1",
        "https://127.0.0.1:99999/",
        "http://127.0.0.1:1/",
        "http://\x01\x02/",
        "",
    ],
)
def test_a_redirect_to_what_is_no_server_is_refused(client, bench, target):
    bench.behave(only(f"/blobs/{LAYER}", redirect(target)))
    refusal(client, bench.put(IMAGE))


def test_storage_elsewhere_is_followed_and_not_told_who_asks(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as storage:
        storage.behave(answer(LAYER_BYTES))
        bench.behave(
            only("", _wants_basic),
            only(f"/blobs/{LAYER}", redirect(f"{storage.url}/stored?signature=x")),
        )
        pulled(client, bench.put(IMAGE))
        assert len(storage.seen) == 1
        assert not _told(storage)


def test_nobody_is_led_from_tls_to_plain_http(client, authority, names):
    with adversary(tls=authority, name="registry.test") as bench, adversary(name="storage.test") as storage:
        bench.behave(only(f"/blobs/{LAYER}", redirect(f"{storage.url}/stored")))
        assert "plain HTTP" in refusal(client, bench.put(IMAGE), extra=_trusting(bench))
        assert not storage.seen


# Secrets


def _wants_basic(exchange: Exchange) -> bool:
    """Ask for a password, of whoever has given none."""
    if exchange.headers.get("Authorization"):
        return False
    return exchange.answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})


def _wants_token(realm: str) -> Callable[[Exchange], bool]:
    def behave(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization", "").startswith("Bearer "):
            return False
        return exchange.answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})

    return behave


def _trusting(bench: Adversary) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(bench.ca)}


def _told(bench: Adversary) -> list[str]:
    """Requests that have told who asks."""
    return [str(each) for each in bench.seen if each.headers.get("Authorization") or PASSWORD in each.path]


def test_a_password_never_goes_over_plain_http(client, authority, names):
    with adversary(name="token.test") as thief, adversary(tls=authority, name="registry.test") as bench:
        client.log_in(bench.host, "alice", PASSWORD)
        bench.behave(only("", _wants_token(f"{thief.url}/token")))
        text = refusal(client, bench.put(IMAGE), extra=_trusting(bench))
        assert PASSWORD not in text
        assert not thief.seen
        assert not _told(bench)


def test_a_registry_that_is_not_insecure_is_never_asked_in_plain_http(client, names):
    with adversary(name="registry.test") as bench:
        client.log_in(bench.host, "alice", PASSWORD)
        bench.behave(only("", _wants_basic))
        refusal(client, bench.put(IMAGE))
        assert not [each for each in bench.seen if each.path.startswith("/v2")]


def test_a_password_goes_over_plain_http_to_no_other_host_than_an_insecure_registry(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as thief:
        bench.behave(only("", _wants_token(f"{thief.url}/token")))
        assert "plain HTTP" in refusal(client, bench.put(IMAGE))
        assert not _told(thief)


@pytest.mark.parametrize(
    "realm", ["file:///etc/passwd", "http://", "//x", "", "ftp://127.0.0.1/", "https://127.0.0.1:1/", "\\", "x" * 9000]
)
def test_a_token_service_that_is_none_is_refused(client, bench, realm):
    client.log_in(bench.host, "alice", PASSWORD)
    bench.behave(only("", _wants_token(realm)))
    assert PASSWORD not in refusal(client, bench.put(IMAGE))


TOKENS = {
    "nothing": b"",
    "no object": b'["token"]',
    "no text": b'{"token": 5}',
    "no token": b"{}",
    "a header besides": b'{"token": "x\\r\\nX-Evil: 1"}',
    "no ASCII": '{"token": "\u00e9"}'.encode(),
    "megabytes": b'{"token": "' + b"x" * (3 * MIB) + b'"}',
}


@pytest.mark.parametrize("content", TOKENS.values(), ids=TOKENS)
def test_a_token_that_is_none_is_refused(client, bench, content):
    bench.behave(only("/token", answer(content)), only("/v2", _wants_token(f"{bench.url}/token")))
    refusal(client, bench.put(IMAGE))


def test_a_token_service_without_end_is_given_up(client, bench):
    bench.behave(only("/token", endless(b" " * 65536)), only("/v2", _wants_token(f"{bench.url}/token")))
    refusal(client, bench.put(IMAGE))


def test_a_registry_that_believes_no_token_is_not_asked_for_ever(client, bench):
    challenge = {"WWW-Authenticate": f'Bearer realm="{bench.url}/token",service="x"'}
    bench.behave(only("/token", answer(b'{"token": "x"}')), only("/v2", answer(status=401, headers=challenge)))
    refusal(client, bench.put(IMAGE))
    assert len(bench.seen) < 10


def test_the_service_of_tokens_does_not_learn_what_it_need_not(client, authority, names):
    """The password goes to the token service, and the token to the registry: neither to storage."""
    with (
        adversary(tls=authority, name="token.test") as service,
        adversary(tls=authority, name="registry.test") as bench,
        adversary(tls=authority, name="storage.test") as storage,
    ):
        client.log_in(bench.host, "alice", PASSWORD)
        service.behave(answer(b'{"token": "the-token"}'))
        storage.behave(answer(LAYER_BYTES))
        bench.behave(only("", _wants_token(f"{service.url}/token")), only(LAYER, redirect(f"{storage.url}/stored")))
        pulled(client, bench.put(IMAGE), extra=_trusting(bench))
        assert all(each.headers["Authorization"].startswith("Basic ") for each in service.seen)
        assert {each.headers["Authorization"] for each in bench.seen} == {None, "Bearer the-token"}
        assert not _told(storage)
        assert not any(PASSWORD in each.path for each in (*service.seen, *bench.seen, *storage.seen))


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer realm", "Basic realm=" + '"' * 5000, "=,=,=", "Negotiate abc==", '"' + "\\" * 9999]
)
def test_a_challenge_that_is_none_is_refused(client, bench, header):
    bench.behave(only("", answer(status=401, headers={"WWW-Authenticate": header})))
    refusal(client, bench.put(IMAGE))


# Mirrors


def test_a_mirror_that_fails_is_passed_by(client, bench):
    with adversary() as broken, adversary() as lying, adversary() as empty:
        broken.behave(answer(status=500))
        lying.behave(only("/manifests/", answer(b"{}", headers={"Docker-Content-Digest": digest_of(b"")})))
        mirrors = [broken.url, lying.url, empty.url, "http://127.0.0.1:1"]
        client.settings(registry_mirrors={bench.host: mirrors})
        pulled(client, bench.put(IMAGE))
        assert broken.seen
        assert empty.seen


def test_a_mirror_that_breaks_in_the_middle_is_passed_by(client, bench):
    with adversary() as mirror:
        mirror.put(IMAGE)
        mirror.behave(
            only(f"/blobs/{LAYER}", cut_after(100_000, LAYER_BYTES), times=1), only(LAYER, answer(status=404))
        )
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        pulled(client, bench.put(IMAGE))
        assert mirror.asked(LAYER)
        assert bench.asked(f"GET .*{LAYER}")


def test_a_mirror_does_not_learn_who_asks(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as mirror:
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        mirror.behave(only("", _wants_basic))
        bench.behave(only("", _wants_basic))
        pulled(client, bench.put(IMAGE))
        assert not [each for each in _told(mirror) if PASSWORD in each or "Basic" in each]


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
    text = refusal(client, bench.put(image))
    assert time.monotonic() - started < 20
    assert "digest" not in text, "it was unpacked to its end"


# Uploads


@pytest.fixture(scope="module")
def big_image() -> RemoteImage:
    """An image whose layer is sent in several pieces."""
    return remote_image([Entry("file", content=CONTENT * 60)], compression="")


def test_an_upload_that_breaks_goes_on_where_it_was(client, bench, big_image):
    name = bench.put(big_image)
    client.pull(name)
    try:
        size = len(big_image.blobs[big_image.layers[0]])
        bench.blobs.clear()
        bench.behave(only("(PATCH|PUT) .*/uploads/", deaf_after(bench, size // 2), times=1))
        client.push(name)
        assert dict(bench.blobs) == dict(big_image.blobs)
        sent = sum(int(each.headers.get("Content-Length") or 0) for each in bench.asked("PATCH|PUT .*/uploads/"))
        assert sent < 2.2 * size
    finally:
        client.forget(name)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://127.0.0.1:1/", "\\\\", "http://["]
)
def test_an_upload_is_sent_to_no_other_place_than_a_server(client, bench, target):
    name = bench.put(IMAGE)
    client.pull(name)
    try:
        bench.blobs.clear()
        bench.behave(only("POST ", answer(status=202, headers={"Location": target})))
        with pytest.raises(SandboxError) as raised:
            client.push(name)
        assert str(raised.value).isprintable()
    finally:
        client.forget(name)


def test_an_upload_elsewhere_does_not_tell_who_asks(client, bench):
    name = bench.put(IMAGE)
    client.pull(name)
    client.log_in(bench.host, "alice", PASSWORD)
    try:
        bench.blobs.clear()
        with adversary(name="127.0.0.2") as storage:
            storage.behave(answer(status=500))
            bench.behave(
                only("", _wants_basic), only("POST ", answer(status=202, headers={"Location": f"{storage.url}/x"}))
            )
            with pytest.raises(SandboxError):
                client.push(name)
            assert not _told(storage)
    finally:
        client.forget(name)


@pytest.mark.parametrize("place", ["0-99999999999", "5-1", "x", "0-" + "9" * 400, ""])
def test_an_upload_whose_offset_lies_is_refused(client, bench, place):
    name = bench.put(IMAGE)
    client.pull(name)
    try:
        bench.blobs.clear()
        headers = {"Location": "/v2/x/blobs/uploads/1", "Range": place}
        bench.behave(only("PATCH|GET .*/uploads/", answer(status=202, headers=headers)))
        with pytest.raises(SandboxError):
            client.push(name)
    finally:
        client.forget(name)


# The command line


@pytest.mark.parametrize("behaviour", [BLOBS["another of the same size"], answer(b"[" * 9999), redirect("file:///x")])
def test_the_command_line_tells_it_in_one_line(client, bench, behaviour):
    bench.behave(only(LAYER, behaviour))
    with client.nothing_kept():
        complaint(client.store.cli("pull", "-q", bench.put(IMAGE), env=client.environ()), 1)
