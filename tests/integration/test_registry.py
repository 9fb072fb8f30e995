"""A real registry: with TLS and accounts, behind a proxy and a mirror, on connections that break; what is done once."""

import json
import shutil
from base64 import b64encode
from collections.abc import Iterator

import pytest
from support.blobs import DOCKER, OCI, RemoteImage, remote_image
from support.certificates import client_certificate
from support.containers import complaint
from support.proxies import Proxy, https_proxy
from support.registries import PASSWORDS, Registry, registry
from support.tar_files import Entry
from support.tokens import token_service

from kernel_sandbox.errors import SandboxError, Unauthorized

pytestmark = pytest.mark.same_for_every_user

NOISE = bytes(range(256)) * 8000
MIB = 1 << 20


@pytest.fixture(scope="module")
def plain() -> Iterator[Registry]:
    """A registry in plain HTTP, open to all."""
    with registry() as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    """A registry with TLS that alice may use; over a proxy it is called registry.test."""
    with registry(tls=True, users=("alice",)) as running:
        yield running


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy that the environment names."""
    with https_proxy() as running:
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        yield running


def called(registry: Registry, name: str) -> str:
    """What is in the registry, by a host name that is no loopback's."""
    return f"registry.test:{registry.host.partition(':')[2]}/{name}"


def fetched(registry: Registry, image: RemoteImage) -> list[str]:
    """The image's blobs that were asked for, each as often as it was."""
    return [
        digest for request in registry.requests("GET") for digest in image.blobs if request.endswith(f"/blobs/{digest}")
    ]


@pytest.mark.parametrize(
    ("types", "compression"), [(OCI, "gzip"), (OCI, "zstd"), (OCI, ""), (DOCKER, "gzip"), (DOCKER, "")]
)
def test_every_kind_of_image_comes_and_goes_byte_for_byte(client, plain, types, compression):
    def zstd(content: bytes) -> bytes:
        import zstandard

        return zstandard.ZstdCompressor().compress(content)

    image = remote_image(
        [Entry("a", content="1")],
        [Entry("b", content=f"{types} {compression}"), Entry(".wh.a")],
        types=types,
        compression=compression,
        compress=zstd if compression == "zstd" else None,
    )
    name = plain.put(image, f"kinds/{compression or 'plain'}", "v1")
    client.pull(name)
    assert client.holds(image, name)
    pushed = f"{plain.host}/again/{compression or 'plain'}"
    client.engine.images.tag(name, f"{pushed}:v2")
    client.push(f"{pushed}:v2")
    assert plain.manifest(pushed.partition("/")[2], "v2") == (image.manifest, image.media_type)
    assert all(plain.blob(pushed.partition("/")[2], digest) == blob for digest, blob in image.blobs.items())


# Who is let in


def test_a_login_is_wanted_and_used(client, guarded):
    name = guarded.put(remote_image([Entry("a")]), "guarded")
    with pytest.raises(Unauthorized) as raised:
        client.pull(name)
    assert "log in" in str(raised.value) or "basic auth" in str(raised.value)
    client.log_in(guarded.host, "alice", "another password")
    with pytest.raises(Unauthorized) as raised:
        client.pull(name)
    assert "another password" not in str(raised.value)
    client.log_in(guarded.host, "alice", PASSWORDS["alice"])
    client.pull(name)
    assert client.engine.images.find(name)


@pytest.mark.parametrize("way", ["SSL_CERT_FILE", "certs.d"])
def test_an_authority_of_ones_own_is_trusted_when_it_is_told(client, guarded, proxy, way):
    image = remote_image([Entry(way)])
    guarded.put(image, "private")
    name = called(guarded, "private:latest")
    client.log_in(name.partition("/")[0], "alice", PASSWORDS["alice"])
    with pytest.raises(SandboxError) as raised:
        client.pull(name)
    assert "certificate" in str(raised.value)
    if way == "certs.d":
        place = client.configuration / "docker/certs.d" / name.partition("/")[0]
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(guarded.ca.read_bytes())
    client.pull(name, extra=guarded.environ() if way == "SSL_CERT_FILE" else None)
    assert client.holds(image, name)


def test_who_shows_a_certificate_is_let_in(client, plain, proxy):
    image = remote_image([Entry("shown")])
    local = plain.put(image, "shown")
    client.pull(local)
    with registry(tls=True, known_clients=True) as picky:
        name = called(picky, "shown:1")
        client.engine.images.tag(local, name)
        place = client.configuration / "docker/certs.d" / name.partition("/")[0]
        place.mkdir(parents=True)
        shutil.copy(picky.ca, place / "ca.crt")
        with pytest.raises(SandboxError, match=r"wants another client certificate .*: put one that it knows into"):
            client.push(name)
        for source, kind in zip(client_certificate(picky.ca.parent), ("cert", "key"), strict=True):
            shutil.copy(source, place / f"client.{kind}")
        client.push(name)
        client.forget(local, name)
        client.pull(name)
        assert client.holds(image, name)


def test_a_token_is_got_for_what_is_to_be_done(client, plain):
    local = plain.put(remote_image([Entry("token")]), "tokens")
    client.pull(local)
    with token_service() as tokens, registry(tokens=tokens) as running:
        names = [f"{running.host}/{path}" for path in ("library/open", "shut", "mounted")]
        for name in names:
            client.engine.images.tag(local, name)
        with pytest.raises(Unauthorized):
            client.push(names[0])
        client.log_in(running.host, "alice", PASSWORDS["alice"])
        for name in names:
            client.push(name)
        assert "alice repository:mounted:pull,push repository:shut:pull" in tokens.asked
        client.unconfigure()
        client.pull(names[0])
        assert tokens.asked[-1] == " repository:library/open:pull"
        with pytest.raises(Unauthorized):
            client.pull(names[1])


def test_a_login_keeps_a_token_in_the_place_of_the_password(client, plain):
    local = plain.put(remote_image([Entry("token")]), "tokens")
    client.pull(local)
    with token_service() as tokens, registry(tokens=tokens) as running:
        word = ("login", "-u", "alice", "--password-stdin", running.host)
        refused = client.store.cli(*word, env=client.environ(), input="another password")
        assert "another" not in complaint(refused, 1)
        client.store.cli(*word, env=client.environ(), input=PASSWORDS["alice"], check=True)
        kept = json.loads((client.configuration / "config.json").read_bytes())["auths"][running.host]
        assert kept["identitytoken"] in tokens.refresh
        assert b64encode(PASSWORDS["alice"].encode()).decode() not in kept["auth"]
        name = f"{running.host}/shut"
        client.engine.images.tag(local, name)
        client.push(name)
        assert tokens.asked[-1].startswith("alice repository:shut:")
        tokens.refresh.clear()
        with pytest.raises(Unauthorized):
            client.pull(name)


# Proxies and connections that break


def test_a_proxy_of_the_environment_is_used_by_the_command_line(client, guarded):
    guarded.put(remote_image([Entry("a")]), "proxied")
    name = called(guarded, "proxied:latest")
    client.log_in(name.partition("/")[0], "alice", PASSWORDS["alice"])
    with https_proxy() as proxy:
        environment = client.environ({**guarded.environ(), "https_proxy": proxy.url})
        client.store.cli("pull", "-q", name, env=environment, check=True)
        assert set(proxy.asked) == {name.partition("/")[0]}
        around = client.store.cli("pull", "-q", name, env={**environment, "no_proxy": "registry.test"})
        assert "no such host" in complaint(around, 1)


def test_a_proxy_that_refuses_is_told_without_its_password(client, guarded, proxy, monkeypatch):
    proxy.refuses = "407 Proxy Authentication Required"
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//someone:the-secret@"))
    with pytest.raises(SandboxError) as raised:
        client.pull(called(guarded, "x"), extra=guarded.environ())
    assert "407" in str(raised.value)
    assert "the-secret" not in str(raised.value)


def test_a_download_goes_on_where_the_connection_broke(client, guarded, proxy):
    image = remote_image([Entry("noise", content=NOISE)], compression="")
    guarded.put(image, "broken")
    name = called(guarded, "broken:latest")
    client.log_in(name.partition("/")[0], "alice", PASSWORDS["alice"])
    proxy.cuts = [700_000, 700_000, 700_000]
    client.pull(name, extra=guarded.environ())
    assert client.holds(image, name)
    assert not proxy.cuts
    assert len(fetched(guarded, image)) >= 3
    assert proxy.down < len(NOISE) * 1.5


def test_an_upload_goes_on_where_the_connection_broke(client, guarded, proxy, plain):
    image = remote_image([Entry("noise", content=NOISE * 13)], compression="")
    local = plain.put(image, "to-push")
    client.pull(local)
    name = called(guarded, "pushed:latest")
    client.engine.images.tag(local, name)
    client.log_in(name.partition("/")[0], "alice", PASSWORDS["alice"])
    proxy.cuts = [10 * MIB, 10 * MIB]
    client.push(name, extra=guarded.environ())
    assert guarded.blob("pushed", image.layers[0]) == image.blobs[image.layers[0]]
    assert not proxy.cuts
    assert proxy.up < len(NOISE) * 13 * 1.9


# Mirrors


def test_a_mirror_that_has_it_is_all_that_is_asked(client, plain):
    image = remote_image([Entry("mirrored")])
    with registry(mirror_of=plain.url) as mirror:
        plain.put(image, "mirrored")
        client.settings(registry_mirrors={"registry.test": [mirror.url]})
        client.pull("registry.test/mirrored")
        assert client.holds(image, "registry.test/mirrored")
        assert sorted(fetched(mirror, image)) == sorted(image.blobs)


# Work done once


def test_two_processes_that_pull_one_image_do_the_work_once(client, plain):
    image = remote_image(*([Entry(str(number), content=NOISE * 2)] for number in range(4)))
    name = plain.put(image, "at-once")
    pulls = [client.store.start("pull", "-q", name, env=client.environ()) for _ in range(2)]
    for each in pulls:
        assert each.communicate(timeout=60)[1] == b""
        assert each.returncode == 0
    assert client.holds(image, name)
    assert sorted(fetched(plain, image)) == sorted(image.blobs)
