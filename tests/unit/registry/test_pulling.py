"""Manifests, blobs and tags from servers that are slow, broken, elsewhere, or do not tell the truth."""

import io
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.adversary import adversary, answer, cut_after, endless, only, redirect, without_ranges

from kernel_sandbox.errors import HostError, NotFound, RegistryError
from kernel_sandbox.registry import pages
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_MANIFEST

CONTENT = bytes(range(256)) * 4096
SIZE = len(CONTENT)
DIGEST = Digest.of(CONTENT)
MANIFEST = b'{"schemaVersion": 2}'
TYPED = {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}
OTHER = Digest.of(b"other")


@pytest.fixture
def bench(server):
    server.blobs[DIGEST] = CONTENT
    server.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
    return server


@pytest.fixture
def repository(bench, client):
    return client().repository(bench.host, "a/b")


def fetched(repository, size=SIZE):
    sink = io.BytesIO()
    repository.blob(DIGEST, size, sink)
    return sink.getvalue()


def test_a_manifest_is_known_by_tag_and_digest(repository):
    found = repository.manifest("1")
    assert (found.content, found.media_type, found.digest) == (MANIFEST, OCI_MANIFEST, Digest.of(MANIFEST))
    assert repository.manifest(found.digest) == found
    assert repository.head("1") == found.digest
    assert repository.head("2") is None


def test_what_is_missing_is_told_as_docker_tells_it(repository, bench):
    name = f"{bench.host}/a/b"
    with pytest.raises(NotFound, match=f"^manifest for {name}:2 not found: manifest unknown: manifest unknown$"):
        repository.manifest("2")
    with pytest.raises(NotFound, match=f"^manifest for {name}@{OTHER} not found: manifest unknown"):
        repository.manifest(OTHER)
    with pytest.raises(NotFound, match=f"^{name} has no blob {OTHER}: blob unknown: blob unknown$"):
        repository.blob(OTHER, 1, io.BytesIO())
    assert not repository.has_blob(OTHER)


def test_a_manifest_that_is_another_is_refused(repository, bench):
    bench.behave(only("manifests", answer(b"{}", headers=TYPED)))
    with pytest.raises(RegistryError, match="sends a manifest that is not sha256:"):
        repository.manifest(Digest.of(MANIFEST))
    bench.behave(only("manifests", answer(b"{}", headers={**TYPED, "Docker-Content-Digest": OTHER})))
    with pytest.raises(RegistryError, match="sends a manifest that is not sha256:"):
        repository.manifest("1")
    bench.behave(only("manifests", answer(b"{}", headers={**TYPED, "Docker-Content-Digest": "sha256:../x"})))
    with pytest.raises(RegistryError, match="gives no digest"):
        repository.manifest("1")


@pytest.mark.parametrize("declared", [True, False], ids=["told", "untold"])
def test_an_endless_manifest_is_refused(repository, bench, declared):
    bench.behave(only("manifests", endless(headers={"Content-Length": str(100 << 20)} if declared else {})))
    with pytest.raises(RegistryError, match="sent more than the 4194304 bytes"):
        repository.manifest("1")


def test_a_manifest_that_drips_is_given_up(repository, bench):
    bench.behave(only("manifests", endless(b"x", pause=0.05)))
    with pytest.raises(RegistryError, match=r"sends next to nothing|not complete after"):
        repository.manifest("1")


def test_a_blob_is_resumed_where_the_connection_broke(repository, bench):
    bench.behave(only("GET .*blobs", cut_after(300_000, CONTENT), times=2))
    assert fetched(repository) == CONTENT
    assert [each.headers["Range"] for each in bench.asked("GET .*blobs")] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_server_without_ranges_sends_it_again(repository, bench):
    bench.behave(
        only("GET .*blobs", cut_after(300_000, CONTENT), times=1), only("GET .*blobs", without_ranges(CONTENT))
    )
    assert fetched(repository) == CONTENT


def test_a_server_that_refuses_a_part_sends_it_again(repository, bench):
    bench.behave(only("blobs", cut_after(300_000, CONTENT), times=1), only("blobs", answer(status=416), times=1))
    assert fetched(repository) == CONTENT
    assert [each.headers.get("Range") for each in bench.asked("blobs")] == [None, "bytes=300000-", None]


def test_a_connection_that_always_breaks_is_given_up(repository, bench):
    bench.behave(only("GET .*blobs", cut_after(10, CONTENT)))
    with pytest.raises(RegistryError, match="the connection broke"):
        fetched(repository)
    assert len(bench.asked("GET .*blobs")) == 6


def test_a_blob_of_another_size_is_refused_at_once(repository, bench):
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(RegistryError, match=f"has {len(CONTENT)} bytes of {DIGEST}, not {size}$"):
            fetched(repository, size)
    bench.behave(only("blobs", endless()))
    with pytest.raises(RegistryError, match=f"sends more than the {len(CONTENT)} bytes of {DIGEST}$"):
        fetched(repository)
    assert len(bench.asked("GET .*blobs")) == 3


def test_a_short_blob_without_a_length_is_asked_for_again_and_given_up(repository, bench):
    bench.behave(only("blobs", lambda exchange: (exchange.head(200, {"Connection": "close"}), exchange.cut())[1]))
    with pytest.raises(RegistryError, match=f"0 bytes came of the {len(CONTENT)} of {DIGEST}"):
        fetched(repository)


@pytest.mark.parametrize("described", ["bytes 5-9/10", "bytes 700000-1048575/1048576", "nonsense", ""])
def test_another_part_than_was_asked_for_is_refused(repository, bench, described):
    wrong = answer(b"12345", 206, {"Content-Range": described})
    bench.behave(only("GET .*blobs", cut_after(300_000, CONTENT), times=1), only("blobs", wrong))
    with pytest.raises(RegistryError, match=r"another part|has 10 bytes"):
        fetched(repository)


def test_a_blob_that_is_called_by_another_digest_is_refused(repository, bench):
    bench.behave(only("blobs", answer(CONTENT, headers={"Docker-Content-Digest": OTHER})))
    with pytest.raises(RegistryError, match=f"sends another blob than {DIGEST}"):
        fetched(repository)


def test_a_blob_that_drips_is_given_up(repository, bench):
    bench.behave(only("blobs", endless(b"x", pause=0.05)))
    with pytest.raises(RegistryError, match="sends next to nothing"):
        fetched(repository)


def test_what_the_listener_raises_ends_a_download(repository):
    def stop(done):
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt):
        repository.blob(DIGEST, len(CONTENT), io.BytesIO(), stop)


@pytest.mark.parametrize("heads", [True, False], ids=["for content", "for an answer"])
def test_a_closed_client_lets_go_of_who_waits(bench, client, heads):
    bench.behave(only("blobs", lambda exchange: (heads and exchange.head(200, {}), time.sleep(3), True)[2]))
    registries = client(patience=None)
    errors = []

    def wait():
        try:
            fetched(registries.repository(bench.host, "a/b"))
        except RegistryError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not bench.asked("GET .*blobs"):
        time.sleep(0.01)
    time.sleep(0.1)
    registries.close()
    thread.join(5)
    assert not thread.is_alive()
    assert errors


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(repository, bench, status):
    bench.behave(only("manifests", answer(status=status), times=2))
    assert repository.manifest("1").content == MANIFEST
    assert len(bench.asked("manifests")) == 3


def test_a_server_in_lasting_trouble_is_named(repository, bench):
    bench.behave(only("manifests", answer(status=503)))
    with pytest.raises(
        RegistryError, match=f"^received unexpected HTTP status: 503 Service Unavailable from {bench.host}$"
    ):
        repository.manifest("1")
    assert len(bench.asked("manifests")) == 6


@pytest.mark.parametrize("later", [timedelta(seconds=1), timedelta(seconds=0)])
def test_a_server_says_when_to_come_again(bench, client, later):
    when = str(later.seconds) if later else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    bench.behave(only("manifests", answer(status=429, headers={"Retry-After": when}), times=1))
    started = time.monotonic()
    client().repository(bench.host, "a/b").manifest("1")
    assert time.monotonic() - started > 0.8


@pytest.mark.parametrize("when", ["31536000", "9" * 400, "Fri, 01 Jan 2126 00:00:00 GMT"])
def test_nobody_waits_for_a_year(repository, bench, when):
    limit = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "come back next year"}]}'
    bench.behave(only("manifests", answer(limit, 429, {"Retry-After": when})))
    with pytest.raises(RegistryError, match=r"^toomanyrequests: come back next year$"):
        repository.manifest("1")
    assert len(bench.asked("manifests")) == 1


def test_a_silent_server_is_given_up(repository, bench):
    bench.behave(only("manifests", lambda exchange: time.sleep(2) or exchange.cut()))
    with pytest.raises(RegistryError, match="it does not answer in time"):
        repository.manifest("1")


@pytest.mark.parametrize("line", [b"X-Drip: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["headers", "continue"])
def test_an_answer_that_does_not_begin_is_given_up(repository, bench, line):
    def drip(exchange):
        if line.startswith(b"X"):
            exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            exchange.wfile.write(line)
            time.sleep(0.05)
        return exchange.cut()

    bench.behave(only("manifests", drip))
    with pytest.raises(RegistryError, match="it does not answer in time"):
        repository.manifest("1")


def test_nobody_listens(client):
    with pytest.raises(RegistryError, match=r"^cannot reach 127.0.0.1:9: connection refused$"):
        client().repository("127.0.0.1:9", "x").manifest("1")


def test_a_redirection_is_followed_for_a_while(repository, bench):
    bench.behave(only("library", answer(status=404)), only("GET .*blobs/", redirect(f"{bench.url}/elsewhere"), times=1))
    bench.behaviours.append(only("elsewhere", answer(CONTENT)))
    assert fetched(repository) == CONTENT
    bench.behave(only("manifests", redirect(lambda seen: seen.path)))
    with pytest.raises(RegistryError, match=f"^{bench.host} redirects more than 10 times$"):
        repository.manifest("1")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://x/y", "http://", "data:,x", "\x01"])
def test_a_redirection_to_what_is_no_server_is_refused(repository, bench, place):
    bench.behave(only("manifests", redirect(place)))
    with pytest.raises(RegistryError, match=r"leads to what is no address|not found|invalid|redirects more"):
        repository.manifest("1")


def test_tls_is_not_left_and_a_name_is_not_enough(private, client, server):
    repository = client(trusting=private.ca).repository(private.host, "a/b")
    plain = server.url.replace("127.0.0.1", "storage.test")
    private.behave(only("manifests", redirect(f"{plain}/x?secret=1")))
    with pytest.raises(RegistryError, match=r"leads away from TLS, to storage.test:[0-9]+ in plain HTTP: refused$"):
        repository.manifest("1")
    assert not server.seen
    with pytest.raises(RegistryError, match=f"is not trusted .*: put .* into certs.d/{private.host}/ca.crt$"):
        client().repository(private.host, "a/b").manifest("1")


def test_a_registry_without_tls_has_to_be_called_insecure(server, names, client):
    server.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
    host = server.host.replace("127.0.0.1", "registry.test")
    with pytest.raises(RegistryError, match=f"^cannot reach {host}: no TLS .*: to do without, list it in insecure-reg"):
        client().repository(host, "a/b").manifest("1")
    assert client(insecure_registries=[host]).repository(host, "a/b").manifest("1").content == MANIFEST


def test_tags_and_repositories_come_page_by_page(repository, bench, client):
    def page(exchange):
        last = int(exchange.seen.query.get("last", 0))
        link = {"Link": f'<{exchange.seen.path.partition("?")[0]}?last={last + 1}>; rel="next"'} if last < 3 else {}
        name = b"tags" if "tags" in exchange.seen.path else b"repositories"
        return exchange.answer(200, b'{"%s": ["n%d"]}' % (name, last), link)

    bench.behave(only("tags|_catalog", page))
    assert repository.tags() == ("n0", "n1", "n2", "n3")
    assert client().catalog(bench.host) == ("n0", "n1", "n2", "n3")


def test_pages_without_end_are_given_up(repository, bench, monkeypatch):
    monkeypatch.setattr(pages, "_MOST_PAGES", 3)
    bench.behave(only("tags", answer(b'{"tags": ["x"]}', headers={"Link": '</v2/a/b/tags/list?more>; rel="next"'})))
    with pytest.raises(RegistryError, match="has more than 3 pages to list"):
        repository.tags()


def test_mirrors_are_asked_first_and_the_registry_last(bench, client):
    with adversary() as mirror, adversary() as broken:
        mirror.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
        broken.behave(answer(status=500))
        settings = {"registry_mirrors": {bench.host: ["http://127.0.0.1:9", broken.url, mirror.url]}}
        repository = client(**settings).repository(bench.host, "a/b")
        assert repository.manifest("1").content == MANIFEST
        assert not bench.asked("manifests")
        assert fetched(repository) == CONTENT
        assert mirror.asked("blobs")
        with pytest.raises(NotFound):
            repository.manifest("none")
        assert bench.asked("manifests/none")


def test_the_registry_goes_on_where_a_mirror_broke(bench, client):
    with adversary() as mirror:
        mirror.behave(only("blobs", cut_after(300_000, CONTENT), times=1), only("blobs", answer(status=404)))
        repository = client(registry_mirrors={bench.host: [mirror.url]}).repository(bench.host, "a/b")
        assert fetched(repository) == CONTENT
        assert bench.asked("blobs")[-1].headers["Range"] == "bytes=300000-"


def test_the_environments_proxy_is_asked_except_for_loopback(bench, client):
    proxies = {"http_proxy": bench.host, "no_proxy": "direct.invalid"}
    registries = client(proxies=proxies, insecure_registries=["registry.invalid", "direct.invalid"])
    assert registries.repository("registry.invalid", "a/b").manifest("1").content == MANIFEST
    assert bench.asked("GET http://registry.invalid/v2/a/b/manifests/1")
    with pytest.raises(RegistryError, match=r"^cannot reach direct.invalid: no such host"):
        registries.repository("direct.invalid", "a/b").manifest("1")
    registries.repository(bench.host, "a/b").manifest("1")
    assert bench.asked("GET /v2/a/b/manifests/1")


def test_a_proxy_that_is_none_is_told(client):
    registries = client(proxies={"HTTPS_PROXY": "gopher://user:a-secret@proxy"})
    with pytest.raises(HostError, match="cannot use the proxy that the environment names for https") as caught:
        registries.repository("other.invalid", "a/b").manifest("1")
    assert "a-secret" not in str(caught.value)


def test_docker_hub_finds_images(server, client, names, monkeypatch):
    found = b'{"results": [{"name": "busybox", "description": null, "star_count": 3, "is_official": true}]}'
    server.behave(only("/v1/search", answer(found)))
    result = client().search(server.host, "busy box&", 5)
    assert [(each.name, each.star_count, each.is_official) for each in result] == [("busybox", 3, True)]
    assert server.asked("search")[0].query == {"q": "busy box&", "n": "5"}
