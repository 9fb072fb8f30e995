"""Blobs and manifests sent to servers that break off, forget, refuse, or send one elsewhere."""

import io

import pytest
from support.adversary import answer, deaf_after, only, redirect

from kernel_sandbox.errors import CorruptContent, RegistryError, Unauthorized
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_MANIFEST

CONTENT = bytes(range(256)) * 8192
SIZE = len(CONTENT)
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def repository(server, client):
    return client().repository(server.host, "a/b")


@pytest.fixture
def told():
    return []


@pytest.fixture
def send(repository, told):
    """Upload the content, or what is said to be it."""

    def upload(content=CONTENT, size=SIZE, digest=DIGEST):
        def open_at(offset):
            file = io.BytesIO(content)
            file.seek(offset)
            return file

        repository.upload(digest, size, open_at, told.append)

    return upload


def test_a_blob_goes_in_one_piece_as_dockers_does(send, server, told):
    send()
    assert server.blobs[DIGEST] == CONTENT
    assert [each.method for each in server.asked("uploads")] == ["POST", "PATCH", "PUT"]
    assert server.asked("PATCH")[0].headers["Content-Range"] is None
    assert told[-1] == SIZE
    assert told == sorted(told)


def test_an_empty_blob_goes_too(send, server):
    send(b"", 0, Digest.of(b""))
    assert server.blobs[Digest.of(b"")] == b""


def test_an_upload_is_resumed_where_the_registry_says(send, server):
    server.behave(only("PATCH", deaf_after(server, 1_000_000), times=1), only("PATCH", answer(status=503), times=1))
    send()
    assert server.blobs[DIGEST] == CONTENT
    assert server.asked("PATCH")[-1].headers["Content-Range"] == f"1000000-{SIZE - 1}"


def test_a_registry_that_has_forgotten_gets_all_again(send, server):
    forgotten = answer(b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}', 404)
    server.behave(only("PATCH", deaf_after(server, 1_000_000), times=1), only("GET .*uploads", forgotten, times=1))
    send()
    assert server.blobs[DIGEST] == CONTENT
    assert len(server.asked("POST")) == 2


def test_a_lost_answer_to_the_last_request_does_no_harm(send, server):
    def lose(exchange):
        exchange.answer = lambda *args: exchange.cut()
        return server.behave_honestly(exchange)

    server.behave(only("PUT", lose, times=1), only("PUT", answer(status=404)))
    send()
    assert server.blobs[DIGEST] == CONTENT


def test_an_upload_that_always_breaks_is_given_up(send, server):
    server.behave(only("PATCH", lambda exchange: exchange.cut()))
    with pytest.raises(RegistryError, match="the connection broke"):
        send()
    assert len(server.asked("PATCH")) == 6
    assert server.asked("DELETE .*uploads")


def test_a_registry_that_claims_progress_without_end_is_given_up(send, server):
    claims = iter([SIZE - 1, 0] * 100)

    def claim(exchange):
        return exchange.answer(204, headers={"Range": f"0-{next(claims) - 1}"})

    server.behave(only("PATCH", lambda exchange: exchange.cut()), only("GET .*uploads", claim))
    with pytest.raises(RegistryError, match="the connection broke"):
        send()
    assert len(server.asked("PATCH")) < 10


def test_a_registry_that_takes_less_at_once_gets_less(send, server, monkeypatch):
    monkeypatch.setattr("kernel_sandbox.registry.upload._PIECE", 500_000)

    def refuse(exchange):
        return int(exchange.headers["Content-Length"]) > 500_000 and exchange.answer(413)

    server.behave(only("PATCH", refuse))
    send()
    assert server.blobs[DIGEST] == CONTENT
    assert len(server.asked("PATCH")) == 6


def test_a_blob_that_is_not_what_it_is_called_ends_as_an_error(send, server):
    with pytest.raises(RegistryError, match=r"^digest invalid"):
        send(CONTENT[:-1] + b"x")
    with pytest.raises(CorruptContent, match=f"{DIGEST} has {SIZE - 1} bytes, not {SIZE}"):
        send(CONTENT[:-1])
    assert DIGEST not in server.blobs
    assert len(server.asked("DELETE .*uploads")) == 2


def test_what_the_listener_raises_ends_an_upload(repository, server):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repository.upload(DIGEST, SIZE, lambda offset: io.BytesIO(CONTENT[offset:]), stop)
    assert DIGEST not in server.blobs


def test_a_refused_push_reads_as_with_docker(send, server):
    denied = b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'
    server.behave(only("POST", answer(denied, 403)))
    with pytest.raises(Unauthorized, match=r"^denied: requested access to the resource is denied$"):
        send()


def test_a_blob_is_mounted_or_the_begun_upload_ended(repository, server):
    server.blobs[DIGEST] = CONTENT
    assert repository.mount(DIGEST, "other/name")
    assert server.asked("POST")[0].query == {"mount": DIGEST, "from": "other/name"}
    assert not repository.mount(Digest.of(b"none"), "other/name")
    assert server.asked("DELETE .*uploads")


@pytest.mark.parametrize("status", [307, 308])
def test_an_upload_may_be_sent_elsewhere(send, server, status):
    def elsewhere(seen):
        return f"{server.url.replace('127.0.0.1', 'localhost')}{seen.path}"

    here = server.host
    server.behave(
        lambda exchange: exchange.headers["Host"] == here and only("PATCH", redirect(elsewhere, status))(exchange)
    )
    send()
    assert server.blobs[DIGEST] == CONTENT


def test_a_place_of_another_scheme_is_refused(send, server):
    server.behave(only("POST", answer(status=202, headers={"Location": "file:///etc/shadow"})))
    with pytest.raises(RegistryError, match="leads to what is no address of http or https"):
        send()


def test_a_manifest_is_put_by_its_tag(repository, server):
    content = b'{"schemaVersion": 2}'
    assert repository.put_manifest("1", content, OCI_MANIFEST) == Digest.of(content)
    assert server.manifests["a/b", "1"] == (content, OCI_MANIFEST)
    server.behave(only("PUT", answer(status=201, headers={"Docker-Content-Digest": Digest.of(b"lie")})))
    with pytest.raises(RegistryError, match="is not sha256:"):
        repository.put_manifest("1", content, OCI_MANIFEST)
