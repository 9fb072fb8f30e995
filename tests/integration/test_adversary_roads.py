"""Where a registry leads: to other servers, token services, mirrors, places for uploads. Nobody learns a secret there.

The lies of manifests and blobs are in ``test_adversary``.
"""

import socket
from collections.abc import Callable
from pathlib import Path

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
)
from support.blobs import RemoteImage, digest_of, remote_image
from support.certificates import certificates
from support.tar_files import Entry

from kernel_sandbox.errors import SandboxError

pytestmark = pytest.mark.same_for_every_user

REPOSITORY = "library/image"
PASSWORD = "a-secret-that-nobody-sees"
CONTENT = bytes(range(256)) * 1500
IMAGE = remote_image([Entry("file", content=CONTENT)], compression="")
LAYER = IMAGE.layers[0]
LAYER_BYTES = IMAGE.blobs[LAYER]
MIB = 1 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with certificates."""
    made = tmp_path_factory.mktemp("authority")
    certificates(made)
    return made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host below ``.test`` is loopback, and yet no loopback by its name: nothing insecure is allowed there."""
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: found("127.0.0.1" if str(host).endswith(".test") else host, *rest, **more),
    )


# Redirects


def test_redirects_in_a_circle_have_an_end(client, bench):
    bench.behave(only(f"/blobs/{LAYER}", redirect(lambda seen: seen.path)))
    client.refusal(bench.put(IMAGE))
    assert len(bench.asked(f"/blobs/{LAYER}")) <= 20


def test_redirects_that_never_end_have_an_end(client, bench):
    bench.behave(only("/blobs/", redirect(lambda seen: f"{seen.path}x")))
    client.refusal(bench.put(IMAGE))
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
    client.refusal(bench.put(IMAGE))


def test_storage_elsewhere_is_followed_and_not_told_who_asks(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as storage:
        storage.behave(answer(LAYER_BYTES))
        bench.behave(
            only("", _wants_basic),
            only(f"/blobs/{LAYER}", redirect(f"{storage.url}/stored?signature=x")),
        )
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert len(storage.seen) == 1
        assert not _told(storage)


def test_nobody_is_led_from_tls_to_plain_http(client, authority, names):
    with adversary(tls=authority, name="registry.test") as bench, adversary(name="storage.test") as storage:
        bench.behave(only(f"/blobs/{LAYER}", redirect(f"{storage.url}/stored")))
        assert "plain HTTP" in client.refusal(bench.put(IMAGE), extra=_trusting(bench))
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
        text = client.refusal(bench.put(IMAGE), extra=_trusting(bench))
        assert PASSWORD not in text
        assert not thief.seen
        assert not _told(bench)


def test_a_registry_that_is_not_insecure_is_never_asked_in_plain_http(client, names):
    with adversary(name="registry.test") as bench:
        client.log_in(bench.host, "alice", PASSWORD)
        bench.behave(only("", _wants_basic))
        client.refusal(bench.put(IMAGE))
        assert not [each for each in bench.seen if each.path.startswith("/v2")]


def test_a_password_goes_over_plain_http_to_no_other_host_than_an_insecure_registry(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as thief:
        bench.behave(only("", _wants_token(f"{thief.url}/token")))
        assert "plain HTTP" in client.refusal(bench.put(IMAGE))
        assert not _told(thief)


@pytest.mark.parametrize(
    "realm", ["file:///etc/passwd", "http://", "//x", "", "ftp://127.0.0.1/", "https://127.0.0.1:1/", "\\", "x" * 9000]
)
def test_a_token_service_that_is_none_is_refused(client, bench, realm):
    client.log_in(bench.host, "alice", PASSWORD)
    bench.behave(only("", _wants_token(realm)))
    assert PASSWORD not in client.refusal(bench.put(IMAGE))


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
    client.refusal(bench.put(IMAGE))


def test_a_token_service_without_end_is_given_up(client, bench):
    bench.behave(only("/token", endless(b" " * 65536)), only("/v2", _wants_token(f"{bench.url}/token")))
    client.refusal(bench.put(IMAGE))


def test_a_registry_that_believes_no_token_is_not_asked_for_ever(client, bench):
    challenge = {"WWW-Authenticate": f'Bearer realm="{bench.url}/token",service="x"'}
    bench.behave(only("/token", answer(b'{"token": "x"}')), only("/v2", answer(status=401, headers=challenge)))
    client.refusal(bench.put(IMAGE))
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
        client.pull_and_forget(IMAGE, bench.put(IMAGE), extra=_trusting(bench))
        assert all(each.headers["Authorization"].startswith("Basic ") for each in service.seen)
        assert {each.headers["Authorization"] for each in bench.seen} == {None, "Bearer the-token"}
        assert not _told(storage)
        assert not any(PASSWORD in each.path for each in (*service.seen, *bench.seen, *storage.seen))


def test_the_authorities_of_a_registry_vouch_for_whom_it_leads_to(client, authority, names):
    """As with Docker: ``certs.d`` has a directory for the registry, and none for its token service and its storage."""
    with (
        adversary(tls=authority, name="token.test") as service,
        adversary(tls=authority, name="registry.test") as bench,
        adversary(tls=authority, name="storage.test") as storage,
    ):
        service.behave(answer(b'{"token": "the-token"}'))
        storage.behave(answer(LAYER_BYTES))
        bench.behave(only("", _wants_token(f"{service.url}/token")), only(LAYER, redirect(f"{storage.url}/stored")))
        place = client.configuration / "docker/certs.d" / bench.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert "is not trusted" in client.refusal(f"{storage.host}/library/image")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer realm", "Basic realm=" + '"' * 5000, "=,=,=", "Negotiate abc==", '"' + "\\" * 9999]
)
def test_a_challenge_that_is_none_is_refused(client, bench, header):
    bench.behave(only("", answer(status=401, headers={"WWW-Authenticate": header})))
    client.refusal(bench.put(IMAGE))


# Mirrors


def test_a_mirror_that_fails_is_passed_by(client, bench):
    with adversary() as broken, adversary() as lying, adversary() as empty:
        broken.behave(answer(status=500))
        lying.behave(only("/manifests/", answer(b"{}", headers={"Docker-Content-Digest": digest_of(b"")})))
        mirrors = [broken.url, lying.url, empty.url, "http://127.0.0.1:1"]
        client.settings(registry_mirrors={bench.host: mirrors})
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert broken.seen
        assert empty.seen


def test_a_mirror_that_breaks_in_the_middle_is_passed_by(client, bench):
    with adversary() as mirror:
        mirror.put(IMAGE)
        mirror.behave(
            only(f"/blobs/{LAYER}", cut_after(100_000, LAYER_BYTES), times=1), only(LAYER, answer(status=404))
        )
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert mirror.asked(LAYER)
        assert bench.asked(f"GET .*{LAYER}")


@pytest.mark.parametrize("wrong", ["layer", "configuration", "manifest"])
def test_a_mirror_that_has_something_else_is_passed_by(client, bench, wrong):
    place, content, kind = {
        "layer": (f"/blobs/{LAYER}", LAYER_BYTES[::-1], "application/octet-stream"),
        "configuration": (f"/blobs/{IMAGE.id}", IMAGE.blobs[IMAGE.id][::-1], "application/octet-stream"),
        "manifest": ("/manifests/", b"<html>Log in to the wireless network</html>", "text/html"),
    }[wrong]
    with adversary() as mirror:
        mirror.put(IMAGE)
        mirror.behave(only(place, answer(content, headers={"Content-Type": kind})))
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert len(mirror.asked(place)) == 1
        assert bench.asked(f"GET .*{place}")


def test_a_mirror_does_not_learn_who_asks(client, bench):
    client.log_in(bench.host, "alice", PASSWORD)
    with adversary(name="127.0.0.2") as mirror:
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        mirror.behave(only("", _wants_basic))
        bench.behave(only("", _wants_basic))
        client.pull_and_forget(IMAGE, bench.put(IMAGE))
        assert not [each for each in _told(mirror) if PASSWORD in each or "Basic" in each]


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
