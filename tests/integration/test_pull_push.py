"""Pull and push: what is told, what is fetched and sent and what is not, and which names the images get.

What a hostile registry may do is in ``test_adversary``; the same with other tools in ``tests/interop``.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator

import pytest
import zstandard
from support.adversary import Adversary, adversary, endless, only
from support.blobs import DOCKER, OCI, RemoteImage, digest_of, index_of, remote_image
from support.client import Client, client_of
from support.store import temporary_store
from support.tar_files import Entry
from support.waiting import wait_until

from kernel_sandbox.errors import NotFound, SandboxError, StoreError
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.progress import Progress

pytestmark = pytest.mark.same_for_every_user


@pytest.fixture(scope="module")
def remote() -> Iterator[Adversary]:
    """A registry in memory that behaves well."""
    with adversary() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A store of the module's own; every test has images of its own there."""
    with temporary_store() as store, client_of(store) as opened:
        yield opened


def layer(text: str) -> list[Entry]:
    return [Entry("file", content=text)]


def lines(told: list[Progress]) -> list[str]:
    """What a terminal shows."""
    return [str(each) for each in told if not each.total]


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def fetched(remote: Adversary, digest: str) -> int:
    """How many times a blob was asked for."""
    return len(remote.asked(f"^GET .*/blobs/{digest}"))


def blobs(client: Client) -> set[str]:
    return {f"sha256:{path.name}" for path in (client.store.home / "oci/blobs/sha256").iterdir()}


def content_of(client: Client, name: str) -> str:
    """The file of the topmost layer."""
    top = client.engine.images.layer_directories(client.engine.images.find(name))[0]
    with open(f"{top}/file") as file:
        return file.read()


# Pull


def test_a_pull_tells_what_dockers_does(client, remote):
    image = remote_image(layer("a pull"), layer("tells"))
    name = remote.put(image, "team/told", "1")
    told = lines(client.pull(name))
    first, second = map(short, image.layers)
    assert told[:3] == ["1: Pulling from team/told", f"{first}: Pulling fs layer", f"{second}: Pulling fs layer"]
    for each in (first, second):
        news = [line.removeprefix(f"{each}: ") for line in told if line.startswith(each)]
        assert news == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
    assert told[-2:] == [f"Digest: {image.digest}", f"Status: Downloaded newer image for {name}"]
    assert lines(client.pull(name)) == [
        "1: Pulling from team/told",
        f"Digest: {image.digest}",
        f"Status: Image is up to date for {name}",
    ]


def test_bytes_move_a_bar(client, remote):
    image = remote_image([Entry("file", content=os.urandom(3 << 20))])
    told = client.pull(remote.put(image, "bars"))
    size = len(image.blobs[image.layers[0]])
    moved = [each.current for each in told if each.status == "Downloading"]
    assert moved == sorted(moved)
    assert moved[-1] == size
    assert {each.total for each in told if each.total} == {size}


def test_the_command_ends_with_the_name(client, remote):
    name = remote.put(remote_image(layer("words")), "words")
    done = client.store.cli("pull", name.removesuffix(":latest"), check=True)
    assert done.stdout.splitlines()[:2] == ["Using default tag: latest", "latest: Pulling from words"]
    assert done.stdout.splitlines()[-1] == name
    assert done.stderr == ""


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_every_kind_of_layer_is_unpacked(client, remote, types, compression):
    text = f"{compression} of {types['manifest']}"
    compress = zstandard.ZstdCompressor().compress if compression == "zstd" else None
    kinds = {**types, "layer+zstd": types.get("layer+zstd", f"{types['layer']}.zstd")}
    image = remote_image(layer(text), types=kinds, compression=compression, compress=compress)
    name = remote.put(image, "kinds", f"{compression or 'plain'}-{types is OCI}")
    client.pull(name)
    assert content_of(client, name) == text
    found = client.engine.images.find(name)
    assert (found.id, found.manifest, found.media_type) == (image.id, image.digest, image.media_type)


def test_of_an_index_the_platforms_image_is_taken_and_the_indexs_digest_kept(client, remote):
    images = {
        platform: remote_image(layer(platform), machine=tuple(platform.split("/")[:2]))
        for platform in ("linux/arm/v6", "linux/arm/v7", "linux/s390x")
    }
    for image in images.values():
        remote.put(image, "many", "")
    index = index_of(images)
    remote.put_manifest(index, OCI["index"], "many", "latest")
    name = f"{remote.host}/many:latest"
    told = lines(client.pull(name, "linux/arm/v8"))
    assert f"Digest: {digest_of(index)}" in told
    found = client.engine.images.find(name)
    assert found.id == images["linux/arm/v7"].id
    assert found.digests == (f"{remote.host}/many@{digest_of(index)}",)
    client.pull(name, "s390x")
    assert client.engine.images.find(name).id == images["linux/s390x"].id
    with pytest.raises(NotFound, match=r"no matching manifest for linux/riscv64 .* there are linux/arm"):
        client.pull(name, "linux/riscv64")


def test_an_image_of_no_index_is_pulled_whatever_its_platform(client, remote):
    name = remote.put(remote_image(layer("foreign"), machine=("linux", "s390x")), "foreign")
    last = lines(client.pull(name, "linux/amd64"))[-1]
    assert last.startswith(f"WARNING: image with reference {remote.host}/foreign was found but does not match")
    assert last.endswith("platform: wanted linux/amd64, actual: linux/s390x")
    assert client.engine.images.find(name)
    assert lines(client.pull(name, "linux/s390x"))[-1].startswith("Status: ")


def test_a_digest_gives_no_tag(client, remote):
    image = remote_image(layer("by digest"))
    remote.put(image, "digested", "1")
    by_digest = f"{remote.host}/digested@{image.digest}"
    assert lines(client.pull(by_digest))[0] == f"{by_digest}: Pulling from digested"
    found = client.engine.images.find(by_digest)
    assert (found.tags, found.digests) == ((), (by_digest,))
    told = lines(client.pull(f"{remote.host}/digested:1@{image.digest}"))
    assert told[-1] == f"Status: Image is up to date for {by_digest}"
    assert client.engine.images.find(by_digest).tags == ()


def test_a_tag_that_has_moved_is_followed(client, remote):
    older, newer = remote_image(layer("older")), remote_image(layer("newer"))
    name = remote.put(older, "moving")
    client.pull(name)
    remote.put(newer, "moving")
    assert lines(client.pull(name))[-1] == f"Status: Downloaded newer image for {name}"
    assert client.engine.images.find(name).id == newer.id
    assert client.engine.images.find(older.id).tags == ()


def test_every_tag_of_a_repository_is_pulled(client, remote):
    images = {tag: remote_image(layer(tag)) for tag in ("one", "two")}
    for tag, image in images.items():
        remote.put(image, "tagged", tag)
    done = client.store.cli("pull", "-a", f"{remote.host}/tagged", check=True)
    assert done.stdout.splitlines()[-2:] == [
        f"Status: Downloaded newer image for {remote.host}/tagged",
        f"{remote.host}/tagged",
    ]
    for tag, image in images.items():
        assert client.engine.images.find(f"{remote.host}/tagged:{tag}").id == image.id


# What is fetched


def test_what_is_there_is_not_fetched(client, remote):
    base = layer("shared by two")
    first, second = remote_image(base), remote_image(base, layer("above it"))
    client.pull(remote.put(first, "first"))
    told = lines(client.pull(remote.put(second, "second")))
    assert f"{short(first.layers[0])}: Already exists" in told
    assert fetched(remote, first.layers[0]) == 1
    client.pull(f"{remote.host}/second:latest")
    remote.put(second, "elsewhere")
    client.pull(f"{remote.host}/elsewhere:latest")
    assert fetched(remote, second.layers[1]) == 1
    assert fetched(remote, second.id) == 1


def test_two_pulls_at_once_do_the_work_once(client, remote):
    image = remote_image(*(layer(f"at once {number}") for number in range(6)))
    name = remote.put(image, "twice")
    told: list[list[str]] = []
    with client_of(client.store) as other:
        pulls = [threading.Thread(target=lambda one=one: told.append(lines(one.pull(name)))) for one in (client, other)]
        for each in pulls:
            each.start()
        for each in pulls:
            each.join(60)
    assert len(told) == 2
    assert [fetched(remote, digest) for digest in image.blobs] == [1] * 7
    for each in image.layers:
        endings = [line for lines_ in told for line in lines_ if line.startswith(short(each))]
        assert f"{short(each)}: Pull complete" in endings


def test_a_layer_that_occurs_twice_is_fetched_once_and_told_of_once(client, remote):
    image = remote_image(layer("again"), layer("and"), layer("again"))
    told = lines(client.pull(remote.put(image, "again")))
    assert fetched(remote, image.layers[0]) == 1
    for status in ("Pulling fs layer", "Download complete", "Pull complete"):
        assert told.count(f"{short(image.layers[0])}: {status}") == 1
    assert content_of(client, f"{remote.host}/again:latest") == "again"


def test_a_layer_that_is_missing_there_leaves_nothing_here(client, remote):
    image = remote_image(*(layer(f"incomplete {number}") for number in range(4)))
    name = remote.put(image, "incomplete")
    del remote.blobs[image.layers[2]]
    with client.nothing_kept(), pytest.raises(SandboxError, match=f"has no blob {image.layers[2]}"):
        client.pull(name)
    remote.put(image, "incomplete")
    client.pull(name)
    assert content_of(client, name) == "incomplete 3"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_pull_leaves_nothing(client, remote, number):
    image = remote_image(layer(f"interrupted by {number}"), [Entry("file", content=os.urandom(4 << 20))])
    name = remote.put(image, f"interrupted-{number}")
    slow = only(f"GET .*/blobs/{image.layers[1]}", endless(bytes(1 << 14), 0.05))
    remote.behave(slow)
    try:
        with client.nothing_kept():
            process = client.store.start("pull", name, stdout=None)
            wait_until(lambda: fetched(remote, image.layers[1]) and image.layers[0] in blobs(client), 20)
            process.send_signal(number)
            assert process.wait(10) == (-number if number == signal.SIGKILL else 128 + number)
            assert b"Traceback" not in process.stderr.read()
            process.stderr.close()
            if number == signal.SIGKILL:  # whoever comes next tidies up
                client.pull(remote.put(remote_image(layer("next")), "next"))
                client.forget(f"{remote.host}/next:latest")
    finally:
        remote.behave()


def test_a_pull_that_is_given_up_while_it_unpacks_leaves_nothing(client, remote):
    """As in a notebook, whose interrupt the process that unpacks does not hear of."""
    image = remote_image(Entry(f"file-{number}") for number in range(20_000))
    name = remote.put(image, "given-up")
    extracting: list[Progress] = []

    def tell(progress):
        extracting.extend([progress] * (progress.status == "Extracting"))
        if len(extracting) > 1:
            raise KeyboardInterrupt

    with client.nothing_kept(), pytest.raises(KeyboardInterrupt), client.engine.transfers() as transfers:
        transfers.pull(references.parse(name), "", tell)


def test_an_artifact_is_no_image(client, remote):
    def as_chart(document):
        document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"

    name = remote.put(remote_image(layer("chart")).altered(as_chart), "chart")
    with client.nothing_kept(), pytest.raises(SandboxError, match="unsupported media type application/vnd"):
        client.pull(name)


@pytest.mark.parametrize(
    ("types", "kind"),
    [
        (DOCKER, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        (OCI, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ],
    ids=["docker", "oci"],
)
def test_a_layer_of_somebody_else_is_fetched_from_the_registry_and_nowhere_else(client, remote, types, kind):
    def as_foreign(document):
        document["layers"][0]["mediaType"] = kind
        document["layers"][0]["urls"] = [f"{remote.url}/of-somebody-else"]

    image = remote_image(layer(f"foreign {kind}"), types=types).altered(as_foreign)
    name = remote.put(image, "foreign-layer")
    content = remote.blobs.pop(image.layers[0])
    with client.nothing_kept(), pytest.raises(SandboxError, match="is kept outside of the registry"):
        client.pull(name)
    assert not remote.asked("of-somebody-else")
    remote.blobs[image.layers[0]] = content
    client.pull(name)
    assert client.holds(image, name)


def test_an_image_for_another_system_is_refused_before_its_layers_come(client, remote):
    image = remote_image(layer("system"), machine=("windows", "amd64"))
    with client.nothing_kept(), pytest.raises(SandboxError, match='image operating system "windows" cannot be used'):
        client.pull(remote.put(image, "system"))
    assert not fetched(remote, image.layers[0])


def test_nothing_is_called_scratch(client):
    with pytest.raises(SandboxError, match=r"^'scratch' is a reserved name$"):
        client.pull("scratch:1")


def test_dockers_old_format_is_refused(client, remote):
    content = json.dumps({"schemaVersion": 1, "name": "old", "tag": "latest", "fsLayers": [], "history": []}).encode()
    remote.put_manifest(content, "application/vnd.docker.distribution.manifest.v1+prettyjws", "old", "latest")
    with pytest.raises(SandboxError, match="old format") as refused:
        client.pull(f"{remote.host}/old:latest")
    assert "\n" not in str(refused.value)


# Push


def pulled(client: Client, remote: Adversary, image: RemoteImage, *names: str) -> list[str]:
    """The image, with other names in the same registry; where it came from is forgotten there."""
    source = remote.put(image, "source", short(image.digest))
    client.pull(source)
    full = [f"{remote.host}/{name}" for name in names]
    for each in full:
        client.engine.images.tag(source, each)
    return full


def sent(remote: Adversary) -> list[str]:
    return [str(each) for each in remote.asked("^(POST|PUT|PATCH) .*/blobs/")]


def pushed(client: Client, name: str) -> list[str]:
    """What a terminal shows."""
    told: list[Progress] = []
    last = client.push(name, tell=told.append)
    return [*lines(told), last]


def test_a_push_tells_what_dockers_does_and_sends_what_is_stored(client, remote):
    image = remote_image(layer("to be"), layer("pushed"), types=DOCKER)
    (name,) = pulled(client, remote, image, "team/pushed:1")
    config = json.loads(image.blobs[image.id])
    upper, lower = (short(digest) for digest in reversed(config["rootfs"]["diff_ids"]))
    with adversary() as other:
        elsewhere = f"{other.host}/pushed:1"
        client.engine.images.tag(name, elsewhere)
        told = pushed(client, elsewhere)
        assert told[0] == f"The push refers to repository [{other.host}/pushed]"
        assert told[1:3] == [f"{upper}: Preparing", f"{lower}: Preparing"]
        assert set(told[3:5]) == {f"{upper}: Pushed", f"{lower}: Pushed"}
        assert told[5:] == [f"1: digest: {image.digest} size: {len(image.manifest)}"]
        assert other.manifests["pushed", "1"] == (image.manifest, image.media_type)
        assert other.blobs == image.blobs
        again = pushed(client, elsewhere)
        assert set(again[3:5]) == {f"{upper}: Layer already exists", f"{lower}: Layer already exists"}
        assert f"{other.host}/pushed@{image.digest}" in client.engine.images.find(name).digests


def test_a_layer_that_occurs_twice_is_sent_once(client, remote):
    image = remote_image(layer("sent"), layer("once"), layer("sent"))
    pulled(client, remote, image, "sent:1")
    with adversary() as other:
        client.engine.images.tag(f"{remote.host}/sent:1", f"{other.host}/sent:1")
        told = pushed(client, f"{other.host}/sent:1")
        assert (sum("Preparing" in line for line in told), sum("Pushed" in line for line in told)) == (3, 2)
        assert len(other.asked("^POST ")) == len(image.blobs) == 3


def test_nothing_is_prepared_for_a_registry_that_is_not_there(client, remote):
    pulled(client, remote, remote_image(layer("prepared")), "prepared:1")
    client.engine.images.tag(f"{remote.host}/prepared:1", "127.0.0.1:1/prepared:1")
    told: list[Progress] = []
    with pytest.raises(SandboxError, match=r"cannot reach 127.0.0.1:1: connection refused"):
        client.push("127.0.0.1:1/prepared:1", tell=told.append)
    assert lines(told) == ["The push refers to repository [127.0.0.1:1/prepared]"]


def test_a_blob_of_another_repository_there_is_mounted(client, remote):
    image = remote_image(layer("mounted"))
    (name,) = pulled(client, remote, image, "mounted:1")
    remote.seen.clear()
    remote.behave(only("HEAD .*/mounted/blobs/", lambda exchange: exchange.answer(404)))
    try:
        told = pushed(client, name)
    finally:
        remote.behave()
    diff_id = json.loads(image.blobs[image.id])["rootfs"]["diff_ids"][0]
    assert f"{short(diff_id)}: Mounted from source" in told
    mounts = [each for each in sent(remote) if "mount=" in each]
    assert mounts
    assert all("from=source" in each for each in mounts)
    assert not [each for each in sent(remote) if each.startswith("PUT") and image.layers[0] in each]


def test_a_push_of_what_is_damaged_here_says_so(client, remote):
    image = remote_image(layer("damaged"))
    (name,) = pulled(client, remote, image, "damaged:1")
    os.unlink(client.engine.images.layout.blob_path(Digest(image.layers[0])))
    with adversary() as other:
        client.engine.images.tag(name, f"{other.host}/damaged:1")
        with pytest.raises(StoreError, match="no such file"):
            client.push(f"{other.host}/damaged:1")
        assert not other.manifests


# Around it


def test_events_tell_of_pulls_and_pushes(client, remote):
    image = remote_image(layer("events"), config={"Labels": {"kind": "test"}})
    (name,) = pulled(client, remote, image, "events:1")
    client.push(name)
    events = [(each.action, each.actor, each.attributes["name"]) for each in client.engine.events.after(0)]
    source = f"{remote.host}/source:{short(image.digest)}"
    assert ("pull", source, f"{remote.host}/source") in events
    assert ("push", name, f"{remote.host}/events") in events


def test_an_image_that_came_by_an_index_is_pushed_by_its_own_manifest(client, remote):
    image = remote_image(layer("one of many"))
    remote.put(image, "index", "")
    index = index_of({"linux/amd64": image, "linux/arm64": remote_image(layer("other"), machine=("linux", "arm64"))})
    remote.put_manifest(index, OCI["index"], "index", "latest")
    client.pull(f"{remote.host}/index:latest", "linux/amd64")
    client.engine.images.tag(f"{remote.host}/index:latest", f"{remote.host}/single:1")
    assert client.push(f"{remote.host}/single:1").startswith(f"1: digest: {image.digest} ")
    assert client.engine.images.find(f"{remote.host}/single:1").digests == (
        f"{remote.host}/index@{digest_of(index)}",
        f"{remote.host}/single@{image.digest}",
    )


def test_all_that_was_pulled_goes_with_its_images(client):
    client.forget(*{image.id for image in client.engine.images.list()})
    assert not client.engine.images.list()
    assert not blobs(client)
    assert not list((client.store.home / "layers").iterdir())
