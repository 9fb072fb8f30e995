"""What a hostile registry could gain beyond a failed pull: trust that is not its own, the terminal, the whole store.

That each of its lies is refused in one line is in ``test_adversary``.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adversary import Adversary, adversary, answer, only, redirect
from support.blobs import OCI, RemoteImage, descriptor, digest_of, index_of, remote_image
from support.certificates import certificates
from support.client import Client
from support.store import COMMAND
from support.tar_files import Entry
from support.terminal import terminal

from kernel_sandbox.commands import Context, invoke
from kernel_sandbox.commands.results import Stream
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import reference as references

pytestmark = pytest.mark.same_for_every_user

IMAGE = remote_image([Entry("file", content="good")], compression="")
OTHER = remote_image([Entry("file", content="evil")], compression="")
ORDERS = "\x1b]0;title\x07\x9b31m\x7f\u202e\nkernel-sandbox: all is well"
OLD = "application/vnd.docker.distribution.manifest.v1"


@pytest.fixture
def client(client: Client) -> Iterator[Client]:
    """An empty store in this process."""
    yield client
    for image in client.engine.images.list():
        client.forget(image.id.hex)


def refusal(client: Client, name: str) -> str:
    with client.nothing_kept(), pytest.raises(SandboxError) as raised:
        client.pull(name)
    assert str(raised.value).isprintable()
    return str(raised.value)


def shown(client: Client, *words: str) -> str:
    """What the command line would print."""
    context = Context(lambda: client.engine, environment=client.environ())
    result = invoke(words, context)
    return "".join(f"{line}\n" for line in result.lines) if isinstance(result, Stream) else result.printed()


# Content


@pytest.mark.parametrize("kind", [f"{OLD}+json", f"{OLD}+prettyjws", "text/html", ""])
def test_a_digest_is_kept_to_whatever_the_answer_says_it_is(client, bench, kind):
    # Of Docker's oldest manifests no digest can be compared, which must not be an excuse for others.
    bench.put(IMAGE)
    bench.put(OTHER)
    bench.behave(only("/manifests/", answer(OTHER.manifest, headers={"Content-Type": kind})))
    assert IMAGE.digest in refusal(client, f"{bench.host}/library/image@{IMAGE.digest}")


@pytest.mark.parametrize("kind", [f"{OLD}+prettyjws", OCI["manifest"]])
def test_a_mirror_cannot_exchange_an_image_of_an_index(client, bench, kind):
    index = index_of({"linux/amd64": IMAGE, "linux/arm64": IMAGE})
    bench.put(IMAGE)
    bench.put_manifest(index, OCI["index"])
    with adversary() as mirror:
        mirror.put(OTHER)
        padded = OTHER.manifest.ljust(len(IMAGE.manifest))
        mirror.behave(only("/manifests/", answer(padded, headers={"Content-Type": kind})))
        client.settings(registry_mirrors={bench.host: [mirror.url]})
        client.pull(f"{bench.host}/library/image@{digest_of(index)}")
        assert mirror.seen
    assert [image.id for image in client.engine.images.list()] == [IMAGE.id]


def test_a_manifest_called_an_old_one_is_none_of_another_kind(client, bench):
    bench.put_manifest(IMAGE.manifest, f"{OLD}+json", tag="latest")
    bench.blobs.update(IMAGE.blobs)
    assert "schema 1" in refusal(client, f"{bench.host}/library/image")


def _claiming(image: RemoteImage, blob: bytes) -> RemoteImage:
    """The image, with other bytes in the place of its layer."""
    changed = image.altered(lambda document: document.update(layers=[descriptor(blob, OCI["layer"])]))
    return RemoteImage(changed.manifest, changed.media_type, {**image.blobs, digest_of(blob): blob})


@pytest.mark.parametrize("is_here", [True, False], ids=["bytes that are here", "bytes that come"])
def test_other_bytes_are_not_taken_for_a_layer_that_is_here(client, bench, is_here):
    # The layer is unpacked already, so nobody needs to unpack these bytes; they would be pushed and saved as it.
    client.pull(bench.put(IMAGE, "library/good"))
    if is_here:
        client.pull(bench.put(OTHER, "library/other"))
    config = json.loads(IMAGE.blobs[IMAGE.id])
    config["author"] = "somebody else"
    content = json.dumps(config).encode()
    liar = _claiming(IMAGE, OTHER.blobs[OTHER.layers[0]])
    liar = liar.altered(lambda document: document.update(config=descriptor(content, OCI["config"])))
    bench.blobs[digest_of(content)] = content
    bench.blobs.update(OTHER.blobs)
    assert IMAGE.layers[0] in refusal(client, bench.put(liar, "library/liar"))


AMBIGUOUS = {
    "two lists of layers": ',"Layers":[]',
    "layers and manifests in capitals": ',"MANIFESTS":[]',
    "a letter that Go takes for another": ',"layer\u017f":[]',
}


@pytest.mark.parametrize("more", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_document_that_others_read_differently_is_refused(client, bench, more):
    # CVE-2021-41190; Go's JSON takes no notice of capitals.
    bench.put(IMAGE)
    bench.put_manifest(IMAGE.manifest[:-1] + more.encode() + b"}", OCI["manifest"], tag="latest")
    refusal(client, f"{bench.host}/library/image:latest")


# Names


TAGS = [ORDERS, "a b", "a?b", "a/../../b", "a@sha256:" + "0" * 64, "a:b", "", "x" * 129, "\u00e9"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_registry_cannot_give_an_image_a_tag_that_is_none(client, bench, tag):
    # With such a name in the database no image could be listed any more.
    bench.behave(
        only("/tags/", answer(json.dumps({"tags": ["good", tag]}).encode())),
        only("/manifests/", answer(IMAGE.manifest, headers={"Content-Type": OCI["manifest"]})),
    )
    bench.blobs.update(IMAGE.blobs)
    with client.nothing_kept(), client.registries() as registries, pytest.raises(SandboxError) as raised:
        client._transfers(registries).pull(references.parse(f"{bench.host}/library/image", None), "", lambda _: None)
    assert str(raised.value).isprintable()
    assert shown(client, "images").count("\n") == 1


# The terminal


def _platform(**words: str) -> bytes:
    document = json.loads(index_of({"linux/s390x": IMAGE}))
    document["manifests"][0]["platform"].update(words)
    return json.dumps(document).encode()


SAYINGS = {
    "the type of a layer": IMAGE.altered(lambda document: document["layers"][0].update(mediaType=ORDERS)).manifest,
    "its own type": IMAGE.altered(lambda document: document.update(mediaType=ORDERS)).manifest,
    "the type of its configuration": IMAGE.altered(
        lambda document: document["config"].update(mediaType=ORDERS)
    ).manifest,
    "a digest": IMAGE.altered(lambda document: document["config"].update(digest=ORDERS)).manifest,
    "a system": _platform(os=ORDERS),
    "a processor": _platform(architecture=ORDERS),
}


@pytest.mark.parametrize("content", SAYINGS.values(), ids=SAYINGS)
def test_a_refusal_quotes_no_orders_and_no_lines(client, bench, content):
    bench.put_manifest(content, OCI["index"] if b'"manifests"' in content else OCI["manifest"], tag="latest")
    refusal(client, f"{bench.host}/library/image:latest")


def test_an_error_of_a_registry_quotes_no_orders_and_no_lines(client, bench):
    error = json.dumps({"errors": [{"code": ORDERS, "message": ORDERS}]}).encode()
    bench.behave(only("/v2/", answer(error, 403)))
    assert "title" in refusal(client, f"{bench.host}/library/image")


def test_what_an_image_says_of_itself_gives_no_orders(client, bench):
    annotated = IMAGE.altered(lambda document: document.update(annotations={"a": ORDERS, ORDERS: "b"}))
    config = json.loads(IMAGE.blobs[IMAGE.id])
    config |= {"author": ORDERS, "history": [{"created_by": ORDERS, "author": ORDERS, "comment": ORDERS}]}
    config["config"] = {"Labels": {"a": ORDERS, ORDERS: "b"}, "Env": [f"A={ORDERS}"], "Cmd": [ORDERS]}
    content = json.dumps(config).encode()
    bench.blobs[digest_of(content)] = content
    told = annotated.altered(lambda document: document.update(config=descriptor(content, OCI["config"])))
    name = bench.put(told)
    client.pull(name)
    commands = (
        ("manifest", "inspect", name),
        ("manifest", "inspect", "-v", name),
        ("inspect", name),
        ("inspect", "--format", "{{json .Config}}", name),
        ("history", "--no-trunc", name),
        ("history", "--format", "{{.CreatedBy}} {{.Comment}}", name),
        ("history", "--format", "json", name),
        ("images", "--tree", "--no-trunc"),
        ("images", "--format", "json"),
        ("events", "--since", "1h", "--until", "0s"),
        ("events", "--since", "1h", "--until", "0s", "--format", "json"),
    )
    for words in commands:
        text = shown(client, *words)
        assert text.replace("\n", "").replace("\t", "").isprintable(), words
        assert "\nkernel-sandbox" not in text, words
    template = ("inspect", "--format", "{{.Config.Labels}} {{.Config.Env}}", name)
    assert ORDERS in shown(client, *template), "programs want it as it is"
    with terminal((COMMAND, *template), env=client.store.environ()) as opened:
        assert opened.ended() == 0
        assert "title" in opened.shown
        assert not {"\x1b", "\x07", "\x9b", "\x7f", "\u202e"} & set(opened.shown)


# This machine


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adversary]:
    """A registry with TLS and a name of its own, as one that is far away has."""
    find = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: find("127.0.0.1" if host == "registry.test" else host, *rest, **more),
    )
    certificates(tmp_path)
    with adversary(tls=tmp_path, name="registry.test") as running:
        yield running


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "x.localhost", "2130706433", "0x7f.1", "0", "[::ffff:7f00:1]"]
)
def test_a_stranger_leads_nobody_to_what_listens_on_this_machine(client, bench, stranger, host):
    # A server that trusts whoever can reach it would be asked whatever the stranger likes.
    place = f"http://{host}:{bench.server.server_address[1]}/containers/create"
    trust = {"SSL_CERT_FILE": str(stranger.ca)}
    name = stranger.put(IMAGE)
    challenge = {"WWW-Authenticate": f'Bearer realm="{place}",service="x"'}
    for trick in (only("/blobs/", redirect(place)), only("/v2/", answer(status=401, headers=challenge))):
        stranger.behave(trick)
        with pytest.raises(SandboxError):
            client.pull(name, extra=trust)
    stranger.behave()
    client.pull(name, extra=trust)
    stranger.blobs.clear()
    for trick in (redirect(place), answer(status=202, headers={"Location": place})):
        stranger.behave(only("POST ", trick))
        with pytest.raises(SandboxError):
            client.push(name, extra=trust)
    assert not bench.seen


# Everything else


def test_a_layer_of_an_exabyte_is_not_begun(client, bench):
    bench.put(IMAGE)
    huge = IMAGE.altered(lambda document: document["layers"][0].update(size=1 << 60))
    name = bench.put(huge)
    refusal(client, name)
    assert not bench.asked(f"/blobs/{IMAGE.layers[0]}")


def test_a_document_of_countless_objects_is_refused_before_it_is_read(client, bench):
    content = IMAGE.manifest[:-1] + b',"x":[' + b"{}," * 1_000_000 + b"{}]}"
    bench.put_manifest(content, OCI["manifest"], tag="latest")
    assert "objects" in refusal(client, f"{bench.host}/library/image:latest")


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..b", "." * 9, "a" * 300])
def test_a_redirect_to_a_name_that_cannot_be_is_refused(client, bench, host):
    bench.behave(only("/blobs/", redirect(f"http://{host}/x")))
    refusal(client, bench.put(IMAGE))


def test_an_image_that_is_removed_while_it_is_recorded_is_no_mishap(client, bench, monkeypatch):
    images = client.engine.images
    write_index = images.write_index

    def write_index_late() -> None:
        monkeypatch.setattr(images, "write_index", write_index)
        client.forget(IMAGE.id)

    monkeypatch.setattr(images, "write_index", write_index_late)
    assert client.pull(bench.put(IMAGE))[-1].status.startswith("Status: Downloaded newer image")
    assert not images.list()


@pytest.mark.parametrize("proxy", ["http://user:secret/word@proxy:3128", "http://user:secret", "foo://u:secret@x:1"])
def test_a_proxy_that_is_none_is_told_without_its_password(client, proxy, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    assert "secret" not in refusal(client, "registry.test/library/image")


def test_a_tokens_service_that_floods_fills_no_file_of_the_users(client, bench):
    from kernel_sandbox.engine import registry_access
    from kernel_sandbox.spec.docker_config import Login

    challenge = {"WWW-Authenticate": f'Bearer realm="{bench.url}/token",service="x"'}
    flood = json.dumps({"token": "t", "refresh_token": "x" * 900_000}).encode()
    bench.behave(
        only("/token", answer(flood)),
        only(
            "/v2/", lambda exchange: not exchange.headers.get("Authorization") and exchange.answer(401, b"", challenge)
        ),
    )
    with pytest.raises(SandboxError):
        registry_access.log_in(client.environ(), bench.host, Login("alice", "secret"))
    assert not (client.configuration / "config.json").exists()
