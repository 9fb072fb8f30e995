"""Images of registries are run, changed and given back, whoever runs them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adversary import Adversary, adversary
from support.blobs import RemoteImage, remote_image
from support.containers import complaint
from support.peers import Unavailable, require
from support.store import Store, temporary_store
from support.tar_files import Entry, directory, link
from support.waiting import unavailable

pytestmark = pytest.mark.same_with_more_ids


@pytest.fixture(scope="module")
def remote() -> Iterator[Adversary]:
    """A registry in memory that behaves well."""
    with adversary() as running:
        yield running


@pytest.fixture(scope="module")
def image(remote: Adversary) -> RemoteImage:
    """busybox in one layer; in another a file, and one of the lower layer's gone."""
    try:
        require("busybox")
    except Unavailable as reason:
        unavailable(str(reason))
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    tools = [link(f"bin/{name}", "busybox") for name in ("sh", "cat", "ls")]
    lower = [directory("bin"), Entry("bin/busybox", content=busybox, mode=0o755), *tools, Entry("gone")]
    upper = [Entry("mine", content="upper\n", mode=0o640), Entry(".wh.gone")]
    made = remote_image(lower, upper, config={"Cmd": ["cat", "/mine"], "Env": ["PATH=/bin"]})
    remote.put(made, "tools")
    return made


@pytest.fixture
def name(remote: Adversary, image: RemoteImage) -> str:
    return f"{remote.host}/tools:latest"


def test_run_fetches_what_is_missing(name: str, store: Store) -> None:
    assert complaint(store.cli("create", "--pull", "never", name), 1) == f"No such image: {name}"
    done = store.cli("run", "--rm", name, check=True)
    assert done.stdout == "upper\n"
    told = done.stderr.splitlines()
    assert told[:2] == [f"Unable to find image '{name}' locally", "latest: Pulling from tools"]
    assert told[-1] == f"Status: Downloaded newer image for {name}"
    refused = store.cli("run", "--rm", f"{name}-nosuch")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "manifest unknown" in refused.stderr.splitlines()[-1]


def test_what_was_pulled_and_changed_is_pushed_and_comes_back(
    name: str, store: Store, remote: Adversary, image: RemoteImage
) -> None:
    own = f"{remote.host}/changed:1"
    store.cli("run", "--pull", "always", "-q", "--name", "changed", name, "sh", "-c", "echo more > /new", check=True)
    store.cli("commit", "changed", own, check=True)
    store.cli("rm", "changed", check=True)
    pushed = store.cli("push", own, check=True).stdout
    assert pushed.count("Mounted from tools") + pushed.count("Layer already exists") == len(image.layers)
    with temporary_store() as other:
        there = other.cli("run", "-q", "--rm", own, "sh", "-c", "cat /mine /new; ls /", check=True)
    assert there.stderr == ""
    assert there.stdout.startswith("upper\nmore\n")
    assert "gone" not in there.stdout.split()
