"""Who asks: challenges are met with no more than they need, and secrets go where nobody else reads them."""

import base64
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import pytest
from support.adversary import adversary, answer, only, redirect

from kernel_sandbox.errors import RegistryError, Unauthorized
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.docker_config import Login
from kernel_sandbox.spec.image import OCI_MANIFEST

MANIFEST = b'{"schemaVersion": 2}'
PASSWORD = "a-secret"
BASIC = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
ALICE = {"auth": BASIC.removeprefix("Basic ")}
IDENTITY = {"auth": base64.b64encode(b"alice:").decode(), "identitytoken": "an-identity"}


def challenge(value):
    """Let nobody in without an authorization."""
    refused = answer(
        b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}',
        401,
        {"WWW-Authenticate": value},
    )
    return lambda exchange: "/v2/" in exchange.path and not exchange.headers["Authorization"] and refused(exchange)


def tokens(exchange):
    """A token service that numbers its tokens."""
    if not exchange.path.startswith("/token"):
        return False
    exchange.content = exchange.body().decode()
    number = len([each for each in exchange.server.bench.seen if each.path.startswith("/token")])
    return exchange.answer(200, json.dumps({"token": f"t{number}", "expires_in": 300}).encode())


def bearer(server):
    return challenge(f'Bearer realm="{server.url}/token",service="the, service",scope="ignored"')


@pytest.fixture
def bench(server):
    server.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
    return server


@pytest.fixture
def guarded(private):
    private.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
    return private


def authorizations(server, pattern="/v2/a/b"):
    return [each.headers["Authorization"] for each in server.asked(pattern)]


def test_a_token_is_fetched_once_for_each_scope(bench, client):
    bench.behave(tokens, bearer(bench))
    repository = client().repository(bench.host, "a/b")
    for _ in range(3):
        assert repository.manifest("1").content == MANIFEST
    assert authorizations(bench) == [None, "Bearer t1", "Bearer t1", "Bearer t1"]
    repository.has_blob(Digest.of(b""))
    asked = [parse_qs(each.path.partition("?")[2]) for each in bench.asked("/token")]
    assert asked == [
        {"service": ["the, service"], "scope": ["repository:a/b:pull"]},
        {"service": ["the, service"], "scope": ["repository:a/b:pull,push"]},
    ]
    assert authorizations(bench, "/token") == [None, None]


def test_many_threads_share_a_token(bench, client):
    bench.behave(tokens, bearer(bench))
    repository = client().repository(bench.host, "a/b")
    with ThreadPoolExecutor(8) as pool:
        assert {found.content for found in pool.map(repository.manifest, ["1"] * 16)} == {MANIFEST}
    assert len(bench.asked("/token")) == 1


def test_a_token_that_is_good_no_more_is_fetched_again(bench, client):
    stale = only(
        "manifests", lambda exchange: exchange.headers["Authorization"] == "Bearer t1" and bearer_refused(exchange)
    )

    def bearer_refused(exchange):
        return exchange.answer(401, headers={"WWW-Authenticate": f"Bearer realm={json.dumps(bench.url + '/token')}"})

    bench.behave(tokens, bearer(bench))
    repository = client().repository(bench.host, "a/b")
    repository.manifest("1")
    bench.behave(tokens, stale, bearer(bench))
    assert repository.manifest("1").content == MANIFEST
    assert authorizations(bench)[-2:] == ["Bearer t1", "Bearer t2"]


def test_mounting_asks_for_both_repositories(bench, client):
    bench.behave(tokens, bearer(bench))
    client().repository(bench.host, "a/b").mount(Digest.of(b""), "c/d")
    scopes = parse_qs(bench.asked("/token")[0].path.partition("?")[2])["scope"]
    assert scopes == ["repository:a/b:pull,push", "repository:c/d:pull"]


def test_a_password_is_shown_to_the_token_service_and_not_to_the_registry(bench, client):
    bench.behave(tokens, bearer(bench))
    client(logins={bench.host: ALICE}).repository(bench.host, "a/b").manifest("1")
    assert authorizations(bench, "/token") == [BASIC]
    assert authorizations(bench) == [None, "Bearer t1"]
    assert bench.asked("/token")[0].query["account"] == "alice"


def test_an_identity_token_is_traded_for_another(bench, client):
    contents = []
    bench.behave(lambda exchange: tokens(exchange) and not contents.append(exchange.content), bearer(bench))
    client(logins={bench.host: IDENTITY}).repository(bench.host, "a/b").manifest("1")
    assert [each.method for each in bench.asked("/token")] == ["POST"]
    assert parse_qs(contents[0]) == {
        "grant_type": ["refresh_token"],
        "service": ["the, service"],
        "client_id": ["kernel-sandbox"],
        "scope": ["repository:a/b:pull"],
        "refresh_token": ["an-identity"],
    }
    assert authorizations(bench)[-1] == "Bearer t1"


def test_a_token_is_preferred_to_a_password_and_unknown_schemes_are_passed_over(bench, client):
    bench.behave(tokens, challenge(f'Negotiate abc=, Basic realm=x, BEARER realm="{bench.url}/token"'))
    client(logins={bench.host: ALICE}).repository(bench.host, "a/b").manifest("1")
    assert authorizations(bench)[-1] == "Bearer t1"


def test_basic_authentication(bench, client):
    bench.behave(challenge('Basic realm="x"'))
    client(logins={bench.host: ALICE}).repository(bench.host, "a/b").manifest("1")
    assert authorizations(bench) == [None, BASIC]
    with pytest.raises(Unauthorized, match=f"^{bench.host}: no basic auth credentials: log in to {bench.host}$"):
        client().repository(bench.host, "a/b").manifest("1")


def test_a_refusal_is_told_in_dockers_words(bench, client):
    refused = answer(
        b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}',
        401,
        {"WWW-Authenticate": "Basic realm=x"},
    )
    bench.behave(only("manifests", refused))
    with pytest.raises(Unauthorized, match=r"^unauthorized: authentication required$"):
        client(logins={bench.host: ALICE}).repository(bench.host, "a/b").manifest("1")
    assert len(bench.asked("manifests")) == 2
    bench.behave(only("manifests", answer(status=401)))
    with pytest.raises(Unauthorized, match=f"^unauthorized: authentication required: log in to {bench.host}$"):
        client().repository(bench.host, "a/b").manifest("1")
    bench.behave(only("manifests", answer(b'{"errors": [{"code": "DENIED", "message": "no"}]}', 403)))
    said = f"^pull access denied for {bench.host}/a/b, repository does not exist or may require 'login': denied: no$"
    with pytest.raises(Unauthorized, match=said):
        client().repository(bench.host, "a/b").manifest("1")


def test_a_token_that_is_not_enough_is_told_as_docker_tells_it(bench, client):
    needed = f'Bearer realm="{bench.url}/token",error="insufficient_scope"'
    bench.behave(tokens, answer(b'{"errors": [{"code": "UNAUTHORIZED"}]}', 401, {"WWW-Authenticate": needed}))
    repository = client().repository(bench.host, "a/b")
    with pytest.raises(Unauthorized, match=f"pull access denied for {bench.host}/a/b, .*: denied: requested access"):
        repository.manifest("1")
    with pytest.raises(Unauthorized, match=r"^denied: requested access to the resource is denied$"):
        repository.has_blob(Digest.of(b""))
    assert len(bench.asked("/token")) == 2


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b'{"details": "incorrect username or password"}', 401, "^unauthorized: incorrect username or password$"),
        (b'{"error": "invalid_grant", "error_description": "gone"}', 400, "^unauthorized: gone$"),
        (b'{"errors": [{"code": "DENIED", "message": "no"}]}', 403, "denied: no$"),
        (b"<html>", 403, "received unexpected HTTP status: 403 Forbidden from 127"),
        (b"{}", 200, "gives no token that can be used"),
        (b'{"token": "a\\r\\nX-Other: b"}', 200, "gives no token that can be used"),
        (b'{"token": ["a"]}', 200, "gives no token: invalid TokenAnswer"),
        (b'{"token": "' + b"x" * (1 << 20) + b'"}', 200, "sent more than"),
    ],
)
def test_a_token_service_that_gives_none_is_told(bench, client, content, status, said):
    bench.behave(only("/token", answer(content, status)), bearer(bench))
    with pytest.raises(RegistryError, match=said) as caught:
        client(logins={bench.host: ALICE}).repository(bench.host, "a/b").manifest("1")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("realm", ["ftp://x/token", "file:///token", "token", "", "http://", "javascript:x"])
def test_a_token_service_that_is_none_is_refused(bench, client, realm):
    bench.behave(challenge(f'Bearer realm="{realm}"'))
    with pytest.raises(RegistryError, match="which is refused: only https is used"):
        client().repository(bench.host, "a/b").manifest("1")


def test_a_malformed_challenge_is_told(bench, client):
    bench.behave(challenge('"Bearer'))
    with pytest.raises(RegistryError, match="invalid WWW-Authenticate: no scheme at"):
        client().repository(bench.host, "a/b").manifest("1")


def test_a_token_service_in_plain_http_never_hears_a_password(guarded, bench, client):
    plain = bench.url.replace("127.0.0.1", "token.test")
    guarded.behave(challenge(f'Bearer realm="{plain}/token"'))
    bench.behave(tokens)
    with pytest.raises(RegistryError, match="names a token service by http, which is refused"):
        client(guarded.ca, {guarded.host: ALICE}).repository(guarded.host, "a/b").manifest("1")
    insecure = [plain.removeprefix("http://")]
    with pytest.raises(RegistryError, match=r"wants the password in plain HTTP, at token.test:[0-9]*: refused"):
        client(guarded.ca, {guarded.host: ALICE}, insecure_registries=insecure).repository(
            guarded.host, "a/b"
        ).manifest("1")
    assert not bench.seen
    client(guarded.ca, insecure_registries=insecure).repository(guarded.host, "a/b").manifest("1")
    assert authorizations(bench, "/token") == [None]


def test_no_secret_follows_a_redirection_to_another_origin(guarded, client):
    with adversary(tls=guarded.ca.parent, name="storage.test") as storage:
        storage.put_manifest(MANIFEST, OCI_MANIFEST, "a/b", "1")
        storage.behave(tokens)

        def away(exchange):
            return redirect(f"{storage.url}{exchange.path}", 307)(exchange)

        registries = client(guarded.ca, {guarded.host: ALICE}, insecure_registries=[storage.host])
        guarded.behave(challenge("Basic realm=x"), only("manifests", away))
        assert registries.repository(guarded.host, "a/b").manifest("1").content == MANIFEST
        assert authorizations(guarded)[-1] == BASIC
        assert authorizations(storage) == [None]
        guarded.behave(only("/token", away), bearer(guarded))
        with pytest.raises(RegistryError, match="redirects what may not be redirected"):
            client(guarded.ca, {guarded.host: IDENTITY}).repository(guarded.host, "a/b").manifest("1")
        assert not storage.asked("/token")


def test_a_challenge_of_whom_one_was_redirected_to_is_not_answered(bench, client):
    elsewhere = bench.url.replace("127.0.0.1", "localhost")
    bench.behave(
        lambda exchange: (
            exchange.headers["Host"].startswith("localhost")
            and answer(status=401, headers={"WWW-Authenticate": "Basic realm=x"})(exchange)
        ),
        only("manifests", redirect(lambda seen: elsewhere + seen.path)),
    )
    with pytest.raises(Unauthorized):
        client(logins={bench.host: ALICE, "localhost": ALICE}).repository(bench.host, "a/b").manifest("1")
    assert set(authorizations(bench)) == {None}


def test_a_login_is_proved_and_an_identity_token_kept_in_its_place(bench, client):
    bench.behave(challenge("Basic realm=x"))
    login = Login("alice", PASSWORD)
    assert client().login(bench.host, login) == login
    answered = answer(json.dumps({"access_token": "t", "refresh_token": "an-identity"}).encode())
    bench.behave(only("/token", answered), bearer(bench))
    assert client().login(bench.host, login) == Login("alice", identity_token="an-identity")
    assert bench.asked("/token")[-1].query["offline_token"] == "true"
    bench.behave(only("/token", answer(b'{"details": "incorrect username or password"}', 401)), bearer(bench))
    with pytest.raises(Unauthorized, match=r"^unauthorized: incorrect username or password$"):
        client().login(bench.host, login)


def test_no_secret_is_shown_or_logged(bench, client, caplog):
    caplog.set_level(logging.DEBUG)
    bench.behave(tokens, bearer(bench))
    registries = client(logins={bench.host: ALICE})
    registries.repository(bench.host, "a/b").manifest("1")
    endpoint = registries._endpoints[bench.host]
    shown = repr((vars(endpoint._authenticator), vars(registries), vars(endpoint)))
    assert PASSWORD not in shown
    assert BASIC.removeprefix("Basic ") not in shown
    assert "'t1'" not in shown
    assert not re.search(rf"{PASSWORD}|Bearer t1|{ALICE['auth']}", caplog.text)
