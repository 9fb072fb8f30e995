"""Every pair of commands at once on the images of one store: each succeeds or says one line, and afterwards every image
is whole and nothing is there besides.

Every ninth pair is tried; all of them with ``KS_EVERY_STEP=1`` in the environment.
"""

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.adversary import adversary
from support.archives import docker_files, packed
from support.blobs import remote_image
from support.client import Client
from support.tar_files import Entry, directory, tar_of

from kernel_sandbox.engine.loading import load
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.spec.progress import tell_nobody
from kernel_sandbox.storage.state import State

pytestmark = pytest.mark.same_for_every_user

FILES = 30
LAYERS = tuple(
    [directory(f"layer{n}"), *(Entry(f"layer{n}/{i}", content=f"{n} {i}") for i in range(FILES))] for n in (1, 2)
)
COMMANDS = (
    "load -i {archive}", "rmi one:1", "rmi -f one:1", "tag one:1 two:1", "save -o {scratch} one:1",
    "create --pull never one:1 x", "commit {container} made:1", "export -o {scratch} {container}",
    "import {rootfs} made:1", "image prune -af",
    "pull {remote}", "push {remote}", "rm {container}", "run --pull never --rm one:1 /x", "images --tree",
)  # fmt: skip
STRIDE = 1 if os.environ.get("KS_EVERY_STEP") else 9
PAIRS = tuple(itertools.combinations_with_replacement(COMMANDS, 2))


@pytest.fixture(scope="module")
def remote() -> Iterator[str]:
    """The name of an image in a registry, which has the layer of the one here and another one."""
    with adversary() as bench:
        yield bench.put(remote_image(*LAYERS), "library/two", "1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("archives")
    archive, rootfs = directory / "archive", directory / "rootfs"
    archive.write_bytes(packed(docker_files(remote_image(LAYERS[0]), "one:1")))
    rootfs.write_bytes(tar_of(LAYERS[1]))
    return {"archive": archive, "rootfs": rootfs}


def loaded(client: Client, archive: Path) -> None:
    with archive.open("rb") as file:
        load(client.engine.images, file.fileno(), "", tell_nobody)


def emptied(client: Client) -> None:
    engine = client.engine
    for container in engine.containers.list(all_=True):
        engine.containers.remove(container.id, force=True)
    while images := engine.images.list():
        engine.images.remove(images[0].id, force=True)  # the newest first: others may have been its base


def run(client: Client, command: str) -> None:
    """One line of complaint at most, and no traceback."""
    stderr = client.store.cli(*command.split(), env=client.environ(), timeout=60).stderr
    assert "Traceback" not in stderr and "internal error" not in stderr, f"{command}: {stderr}"
    assert len(stderr.splitlines()) <= 1, f"{command}: {stderr}"


def check_whole(client: Client) -> None:
    """Each image, be it hidden, has its blobs and its layers with all their files; and nobody has anything else."""
    engine, home = client.engine, client.store.home
    images = State.at(engine.paths.database).images.all(hidden=True)
    layers = {layer.chain_id.hex for image in images for layer in image.layers}
    assert {path.name for path in (home / "layers").iterdir()} == layers
    for chain_id in layers:
        (place,) = (home / "layers" / chain_id).iterdir()
        assert len(list(place.iterdir())) == FILES
    assert {blob for image in images for blob in image.blobs} == set(engine.images.layout.digests())
    assert [path for place in ("staging", "adding") for path in (home / place).glob("*")] == []


@pytest.mark.parametrize("pair", PAIRS[::STRIDE], ids=" and ".join)
def test_two_commands_at_once(
    client: Client, remote: str, files: dict[str, Path], tmp_path: Path, pair: tuple[str, str]
) -> None:
    loaded(client, files["archive"])
    if "{remote}" in pair[0]:
        client.pull(remote)
    container = client.engine.containers.create(ContainerOptions(image="one:1", command=("/x",))).id
    commands = [
        command.format(container=container, scratch=tmp_path / str(at), remote=remote, **files)
        for at, command in enumerate(pair)
    ]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda command: run(client, command), commands))
        check_whole(client)
    finally:
        emptied(client)
    check_whole(client)
