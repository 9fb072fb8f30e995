"""``commit`` makes an image of what a container has changed, and only of that."""

import hashlib
import json
import tarfile

import pytest
from support.containers import complaint, inspected
from support.waiting import wait_until

from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import derivation

pytestmark = pytest.mark.same_with_more_ids


@pytest.fixture
def tag(shared_store, name):
    """A name for an image; whatever has it is removed."""
    yield f"{name}:new"
    shared_store.cli("rm", "-f", name)
    shared_store.cli("rmi", "-f", f"{name}:new")


def blob(store, digest: str):
    return store.home / "oci/blobs" / digest.replace(":", "/")


def manifest(store, reference: str) -> dict:
    """The image's manifest, found through the layout's own index."""
    index = json.loads((store.home / "oci/index.json").read_text())
    found = next(
        entry
        for entry in index["manifests"]
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "").endswith(reference)
    )
    return json.loads(blob(store, found["digest"]).read_text())


def config(store, reference: str) -> dict:
    return json.loads(blob(store, manifest(store, reference)["config"]["digest"]).read_text())


def test_an_image_runs_with_what_the_container_changed(cli, shared_store, name, tag):
    script = "echo new > /new; rm /etc/group; mkdir /dir; ln -s /new /dir/link; chmod 600 /etc/passwd"
    cli("run", "--name", name, "busybox", "sh", "-c", script, check=True)
    id_ = cli("commit", name, tag, check=True).stdout.strip()
    assert inspected(shared_store, tag)["Id"] == id_
    look = "cat /dir/link; ls /etc/group 2>/dev/null; stat -c %a /etc/passwd"
    assert cli("run", "--rm", tag, "sh", "-c", look).stdout.split() == ["new", "600"]


def test_the_new_layer_holds_only_the_difference(cli, shared_store, name, tag):
    script = "echo new > /new; rm /etc/group; rm -r /home; mkdir /home; touch /home/again"
    cli("run", "--name", name, "busybox", "sh", "-c", script, check=True)
    cli("commit", name, tag, check=True)
    layers = manifest(shared_store, tag)["layers"]
    assert len(layers) == 2
    assert layers[0] == manifest(shared_store, "busybox:latest")["layers"][0]
    with tarfile.open(blob(shared_store, layers[1]["digest"])) as archive:
        names = {member.name.removeprefix("./").strip("/") for member in archive}
    assert {"new", "etc/.wh.group", "home/again"} <= names
    assert not {name for name in names if name.startswith(("bin", "dev/", "proc/", "sys/"))}
    assert not names & {"etc/hosts", "etc/hostname", "etc/resolv.conf"}
    assert names <= {"", "new", "etc", "etc/.wh.group", "home", "home/again", "home/.wh..wh..opq"}


def test_an_unchanged_container_adds_no_layer(cli, shared_store, name, tag):
    cli("run", "--name", name, "busybox", "true", check=True)
    cli("commit", name, tag, check=True)
    assert manifest(shared_store, tag)["layers"] == manifest(shared_store, "busybox:latest")["layers"]
    assert config(shared_store, tag)["history"][-1]["empty_layer"] is True
    assert cli("run", "--rm", tag, "echo", "runs").stdout == "runs\n"


def test_a_container_never_started_can_be_committed(cli, name, tag):
    cli("create", "--name", name, "busybox", "echo", "from the container", check=True)
    cli("commit", name, tag, check=True)
    assert cli("run", "--rm", tag).stdout == "from the container\n"


def test_message_author_and_changes_are_recorded(cli, shared_store, name, tag):
    cli("run", "--name", name, "-e", "KEPT=1", "busybox", "touch", "/x", check=True)
    changes = ('CMD ["echo", "changed"]', "ENV A=1 B='two words'", "WORKDIR /work", "LABEL k=v", "EXPOSE 80")
    flags = [part for change in changes for part in ("-c", change)]
    cli("commit", "-m", "a message", "-a", "An Author <a@example>", *flags, name, tag, check=True)
    document = config(shared_store, tag)
    assert document["author"] == "An Author <a@example>"
    assert document["history"][-1]["comment"] == "a message"
    assert len(document["history"]) == len(config(shared_store, "busybox:latest")["history"]) + 1
    assert {"A=1", "B=two words", "KEPT=1"} <= set(document["config"]["Env"])
    assert document["config"]["WorkingDir"] == "/work"
    assert "80/tcp" in document["config"]["ExposedPorts"]
    assert document["config"]["Labels"]["k"] == "v"
    assert cli("run", "--rm", tag).stdout == "changed\n"
    assert inspected(shared_store, tag)["Comment"] == "a message"


def test_a_bad_change_is_named_and_nothing_is_made(cli, shared_store, name, tag):
    cli("create", "--name", name, "busybox", check=True)
    before = cli("images", "-q").stdout
    assert "run is not a valid change command" in complaint(cli("commit", "-c", "RUN ls", name, tag), 1)
    assert complaint(cli("commit", name, "Bad Name"), 1)
    assert cli("images", "-q").stdout == before


def test_a_running_container_is_committed_and_goes_on(cli, shared_store, name, tag):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo x > /x; echo ready; exec sleep 100", check=True)
    wait_until(lambda: "ready" in cli("logs", name).stdout)
    cli("commit", name, tag, check=True)
    assert inspected(shared_store, name)["State"]["Running"] is True
    assert cli("run", "--rm", tag, "cat", "/x").stdout == "x\n"


def test_without_a_name_the_image_has_its_id_alone(cli, shared_store, name):
    cli("run", "--name", name, "busybox", "touch", "/x", check=True)
    id_ = cli("commit", name, check=True).stdout.strip()
    assert inspected(shared_store, id_)["RepoTags"] == []
    assert "<none>" in next(line for line in cli("images").stdout.splitlines() if id_[7:19] in line)
    cli("rmi", id_, check=True)


def test_layers_grow_over_generations(cli, shared_store, name, tag):
    cli("run", "--name", name, "busybox", "sh", "-c", "echo 1 > /one; echo 1 > /both", check=True)
    cli("commit", name, tag, check=True)
    cli("rm", name, check=True)
    cli("run", "--name", name, tag, "sh", "-c", "echo 2 > /two; echo 2 > /both; rm /one", check=True)
    cli("commit", name, tag, check=True)
    assert len(manifest(shared_store, tag)["layers"]) == 3
    assert cli("run", "--rm", tag, "sh", "-c", "cat /two /both; ls /one 2> /dev/null").stdout == "2\n2\n"


def test_every_blob_is_what_its_name_says(cli, shared_store, name, tag):
    cli("run", "--name", name, "busybox", "touch", "/x", check=True)
    cli("commit", name, tag, check=True)
    for path in (shared_store.home / "oci/blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert json.loads((shared_store.home / "oci/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_an_image_that_is_too_deep_is_refused_before_anything_is_stored(cli, shared_store, name, monkeypatch):
    cli("run", "--name", name, "busybox", "touch", "/new", check=True)
    blobs = sorted((shared_store.home / "oci/blobs/sha256").iterdir())
    monkeypatch.setattr(derivation, "MAX_LAYERS", 1)
    with Engine.open() as engine, pytest.raises(SandboxError, match="max depth exceeded"):
        engine.containers.commit(name, "too:deep")
    monkeypatch.undo()
    assert "too" not in cli("images", check=True).stdout
    assert sorted((shared_store.home / "oci/blobs/sha256").iterdir()) == blobs
