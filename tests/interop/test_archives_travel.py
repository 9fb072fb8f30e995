"""Archives of images between Docker, podman, skopeo, umoci and ours: one image has one id, and runs, everywhere."""

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import archives
from support.peers import Peer
from support.store import Store, temporary_store
from support.tar_files import Entry, tar_of

Tool = Callable[..., subprocess.CompletedProcess[str]]

IMAGE = "traveller:1"
FULL_NAME = f"docker.io/library/{IMAGE}"
CHANGE = "echo new > /new; chmod 4750 /new; chown 1000:10 /new; rm /opt/link; ln /new /opt/hard; rm -r /opt/sticky"
CROSSED = (("docker-archive", "oci-archive"), ("oci-archive", "docker-archive"))
LOOK = ("sh", "-c", "cat /new; stat -c '%a %u:%g %h' /new /opt/hard; ls /opt")


@pytest.fixture(scope="module")
def ours(rootfs: Path) -> Iterator[Store]:
    """A store with an image of two layers."""
    with temporary_store() as store:
        store.cli("import", rootfs, "base", check=True)
        store.cli("run", "--name", "changed", "base", "sh", "-c", CHANGE, check=True)
        store.cli("commit", "-c", 'CMD ["cat", "/new"]', "-m", "note", "changed", IMAGE, check=True)
        store.cli("rm", "changed", check=True)
        store.cli("save", "-o", store.home / "saved.tar", IMAGE, check=True)
        yield store


@pytest.fixture(scope="module")
def dockers(docker: Peer, rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What Docker saves of an image of its own with two layers, called as ours."""
    docker.cli("import", rootfs, "base", check=True)
    docker.cli("run", "--network", "none", "--name", "changed", "base", "sh", "-c", CHANGE, check=True)
    docker.cli("commit", "-c", 'CMD ["cat", "/new"]', "changed", IMAGE, check=True)
    docker.cli("rm", "changed", check=True)
    path = tmp_path_factory.mktemp("dockers") / "saved.tar"
    docker.cli("save", "-o", path, IMAGE, check=True)
    docker.cli("rmi", IMAGE, "base", check=True)
    yield path


def id_of(cli: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    """The id of the image under test."""
    return str(json.loads(cli("inspect", IMAGE, check=True).stdout)[0]["Id"]).removeprefix("sha256:")


def loaded_by_docker(docker: Peer, path: Path) -> tuple[str, str]:
    """Its id, and what it looks like, in Docker; it is removed again."""
    docker.cli("load", "-i", path, check=True)
    try:
        seen = docker.cli("run", "--rm", "--network", "none", IMAGE, *LOOK, check=True).stdout
        return id_of(docker.cli), seen
    finally:
        docker.cli("rmi", "-f", IMAGE, check=True)


def test_dockers_image_comes_back_as_it_was(docker: Peer, dockers: Path, store: Store, tmp_path: Path) -> None:
    assert store.cli("load", "-i", dockers, check=True).stdout == f"Loaded image: {IMAGE}\n"
    here = store.cli("run", "--rm", IMAGE, *LOOK, check=True).stdout
    store.cli("save", "-o", tmp_path / "again.tar", IMAGE, check=True)
    assert loaded_by_docker(docker, tmp_path / "again.tar") == (id_of(store.cli), here)
    assert loaded_by_docker(docker, dockers) == (id_of(store.cli), here)


def test_docker_loads_what_we_save(docker: Peer, ours: Store) -> None:
    here = ours.cli("run", "--rm", IMAGE, *LOOK, check=True).stdout
    assert loaded_by_docker(docker, ours.home / "saved.tar") == (id_of(ours.cli), here)


def test_an_archive_of_2013_has_the_id_that_docker_gives_it(docker: Peer, store: Store, tmp_path: Path) -> None:
    layers = [tar_of([Entry("a", content="1")]), tar_of([Entry("b", content="2")])]
    (tmp_path / "old.tar").write_bytes(archives.packed(archives.old_files(layers, *IMAGE.split(":"))))
    docker.cli("load", "-i", tmp_path / "old.tar", check=True)
    store.cli("load", "-i", tmp_path / "old.tar", check=True)
    try:
        assert id_of(store.cli) == id_of(docker.cli)
    finally:
        docker.cli("rmi", IMAGE, check=True)


@pytest.mark.parametrize(("there", "back"), CROSSED if os.environ.get("KS_EVERY_STEP") else CROSSED[:1])
def test_podmans_image_comes_back_as_it_was(
    podman: Peer, ours: Store, store: Store, tmp_path: Path, there: str, back: str
) -> None:
    ours.cli("save", "--format", there, "-o", tmp_path / "ours.tar", IMAGE, check=True)
    podman.cli("load", "-i", tmp_path / "ours.tar", check=True)
    try:
        assert id_of(podman.cli) == id_of(ours.cli)
        assert podman.cli("run", "--rm", "--network", "none", IMAGE, check=True).stdout == "new\n"
        podman.cli("save", "--format", back, "-o", tmp_path / "theirs.tar", IMAGE, check=True)
    finally:
        podman.cli("rmi", "-f", IMAGE)
    (line,) = store.cli("load", "-i", tmp_path / "theirs.tar", check=True).stdout.splitlines()
    name = line.removeprefix("Loaded image: ")
    assert json.loads(store.cli("inspect", name, check=True).stdout)[0]["Id"] == f"sha256:{id_of(ours.cli)}"
    assert store.cli("run", "--rm", name, *LOOK, check=True).stdout == ours.cli("run", "--rm", IMAGE, *LOOK).stdout


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_skopeo_copies_to_and_fro(skopeo: Tool, ours: Store, store: Store, tmp_path: Path, form: str) -> None:
    transport = "oci" if form == "oci-dir" else form
    ours.cli("save", "--format", form, "-o", tmp_path / "ours", IMAGE, check=True)
    source = f"{transport}:{tmp_path}/ours:{IMAGE if form == 'docker-archive' else FULL_NAME}"
    seen = json.loads(skopeo("inspect", "--config", source, check=True).stdout)
    own = json.loads(ours.cli("inspect", IMAGE, check=True).stdout)[0]
    assert seen["rootfs"]["diff_ids"] == own["RootFS"]["Layers"]
    skopeo("copy", source, f"{transport}:{tmp_path}/theirs:{FULL_NAME}", check=True)
    assert store.cli("load", "-i", tmp_path / "theirs", check=True).stdout == f"Loaded image: {IMAGE}\n"
    assert id_of(store.cli) == id_of(ours.cli)
    if form != "docker-archive":
        there = json.loads(store.cli("inspect", IMAGE, check=True).stdout)[0]
        assert there["RepoDigests"] == own["RepoDigests"]


def test_skopeo_reads_a_docker_archive_as_an_oci_archive(skopeo: Tool, ours: Store) -> None:
    seen = json.loads(skopeo("inspect", f"oci-archive:{ours.home}/saved.tar", check=True).stdout)
    assert f"traveller@{seen['Digest']}" in json.loads(ours.cli("inspect", IMAGE).stdout)[0]["RepoDigests"]


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Every file below *root*: kind, mode, owner, time, links, content and extended attributes."""
    found: dict[str, tuple[Any, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(directory, name)
            status = path.lstat()
            content: object = path.readlink() if path.is_symlink() else ()
            if stat.S_ISREG(status.st_mode):
                content = (status.st_nlink, path.read_bytes())
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            facts = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
            found[str(path.relative_to(root))] = (facts, content, attributes)
    return found


def test_umoci_unpacks_a_saved_directory_as_we_do(umoci: Tool, rootfs: Path, tmp_path: Path) -> None:
    """The layer is unpacked below our store just as umoci does it: read here as root, who needs no map."""
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["tar", "-xpf", rootfs, "-C", full], check=True)
    os.setxattr(full / "opt/file", "user.note", b"\0\xff")
    os.utime(full / "opt/setuid", ns=(0, 1_234_567_890_123_456_789))
    os.mkfifo(full / "opt/pipe")
    os.mknod(full / "opt/node", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    subprocess.run(
        ["tar", "--format=pax", "--xattrs", "--xattrs-include=*", "-cpf", tmp_path / "full.tar", "-C", full, "."],
        check=True,
    )
    with temporary_store() as store:
        store.cli("import", tmp_path / "full.tar", IMAGE, check=True)
        store.cli("save", "--format", "oci-dir", "-o", tmp_path / "layout", IMAGE, check=True)
        (layer,) = (store.home / "layers").iterdir()
        own = tree(layer)
    umoci("unpack", "--image", f"{tmp_path}/layout:{FULL_NAME}", tmp_path / "bundle", check=True)
    assert own == tree(tmp_path / "bundle/rootfs")
