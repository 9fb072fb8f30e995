"""An image made here runs there, and back: Docker, skopeo and umoci read what ours writes, and the other way round."""

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.peers import Peer
from support.side_by_side import members
from support.store import Store, temporary_store

Tool = Callable[..., subprocess.CompletedProcess[str]]

MADE = "made:1"
FULL_NAME = "docker.io/library/made:1"  # as an OCI layout's index names it
# What the engine or the container's mounts put into every export, not what the image has.
_DOCKERS_OWN = {".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/mtab"}
_MOUNT_POINTS = {"", "dev", "proc", "sys", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
CHANGE = """
    echo new > /new; chmod 640 /new; chown 1000:10 /new
    rm /opt/link; rm -r /opt/sticky; mkdir /opt/sticky; echo x > /opt/sticky/x
    echo more >> /opt/file; mkdir -p /a/b/c; ln -s /new /a/b/c/link; ln /new /a/hard
"""


@pytest.fixture(scope="module")
def ours(rootfs: Path) -> Iterator[Store]:
    """A store with the image ``base`` and ``made:1``, committed from a container of it that changed files."""
    with temporary_store() as store:
        store.cli("import", rootfs, "base", check=True)
        store.cli("run", "--name", "changed", "base", "sh", "-c", CHANGE, check=True)
        changes = ("-c", 'CMD ["cat", "/new"]', "-c", "ENV A=1", "-c", "LABEL k=v", "-c", "USER student")
        store.cli("commit", "-m", "note", "-a", "me", *changes, "changed", MADE, check=True)
        yield store


@pytest.fixture
def loaded(docker: Peer) -> Iterator[str]:
    """A name for an image in Docker, which is removed afterwards."""
    yield "traveller:1"
    docker.cli("rmi", "-f", "traveller:1")


def _export(cli: Callable[..., subprocess.CompletedProcess[bytes]], image: str, *network: str) -> bytes:
    """A container's root filesystem as a tar archive, the container never started."""
    cli("create", *network, "--name", "exported", image, "true", check=True)
    try:
        return cli("export", "exported", check=True, text=False).stdout
    finally:
        cli("rm", "exported", check=True)


def test_both_export_the_same_files_of_the_same_image(docker: Peer, ours: Store, rootfs: Path, loaded: str) -> None:
    docker.cli("import", rootfs, loaded, check=True)
    theirs = members(_export(docker.cli, loaded, "--network", "none"))
    own = members(_export(ours.cli, "base"))
    assert set(theirs) - _DOCKERS_OWN - {""} == set(own) - {""}
    assert {name: own[name] for name in own if name not in _MOUNT_POINTS} == {
        name: theirs[name] for name in own if name not in _MOUNT_POINTS
    }


def test_our_export_runs_in_docker(docker: Peer, ours: Store, loaded: str, tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(ours.cli("export", "changed", check=True, text=False).stdout)
    docker.cli("import", tmp_path / "rootfs.tar", loaded, check=True)
    look = ("sh", "-c", "cat /new /opt/file /opt/sticky/x; stat -c '%a %u:%g %h' /new /a/hard /opt/setuid; ls /opt")
    there = docker.cli("run", "--rm", "--network", "none", loaded, *look, check=True).stdout
    assert there == ours.cli("run", "--rm", MADE, *look, check=True).stdout
    assert "link" not in there.splitlines()


def test_dockers_export_runs_here(docker: Peer, rootfs: Path, loaded: str, store: Store, tmp_path: Path) -> None:
    docker.cli("import", rootfs, loaded, check=True)
    docker.cli("run", "--name", "there", "--network", "none", loaded, "sh", "-c", CHANGE, check=True)
    try:
        (tmp_path / "rootfs.tar").write_bytes(docker.cli("export", "there", check=True, text=False).stdout)
    finally:
        docker.cli("rm", "there")
    store.cli("import", tmp_path / "rootfs.tar", "back", check=True)
    look = ("cat", "/new", "/opt/file", "/opt/sticky/x")
    assert store.cli("run", "--rm", "back", *look, check=True).stdout == "new\ncontent\nmore\nx\n"
    mine = members(_export(store.cli, "back"))
    theirs = members((tmp_path / "rootfs.tar").read_bytes())
    assert {name: mine[name] for name in mine if name not in _MOUNT_POINTS} == {
        name: theirs[name] for name in theirs if name not in _MOUNT_POINTS
    }


def test_skopeo_reads_our_layout(ours: Store, skopeo: Tool) -> None:
    source = f"oci:{ours.home}/oci:{FULL_NAME}"
    seen = json.loads(skopeo("inspect", source, check=True).stdout)
    own = json.loads(ours.cli("inspect", MADE, check=True).stdout)[0]
    assert seen["Labels"] == {"k": "v"}
    assert seen["Env"] == own["Config"]["Env"]
    assert f"made@{seen['Digest']}" in own["RepoDigests"]
    assert len(seen["Layers"]) == 2
    config = json.loads(skopeo("inspect", "--config", source, check=True).stdout)
    assert config["rootfs"]["diff_ids"] == own["RootFS"]["Layers"]
    assert [entry.get("comment") for entry in config["history"]][-1] == "note"
    assert config["config"]["Cmd"] == ["cat", "/new"]


def test_our_committed_image_is_loaded_by_docker_under_its_own_id(
    docker: Peer, ours: Store, skopeo: Tool, loaded: str, tmp_path: Path
) -> None:
    destination = f"docker-archive:{tmp_path}/image.tar:docker.io/library/{loaded}"
    skopeo("copy", f"oci:{ours.home}/oci:{FULL_NAME}", destination, check=True)
    docker.cli("load", "-i", tmp_path / "image.tar", check=True)
    assert docker.cli("run", "--rm", "--network", "none", loaded, check=True).stdout == "new\n"
    there = json.loads(docker.cli("inspect", loaded, check=True).stdout)[0]
    here = json.loads(ours.cli("inspect", MADE, check=True).stdout)[0]
    for fact in ("Id", "Author", "Comment", "Architecture", "Os", "RootFS"):
        assert there[fact] == here[fact], fact
    for fact in ("Cmd", "Env", "Labels", "User"):
        assert there["Config"][fact] == here["Config"][fact], fact


def test_our_layout_runs_in_podman(podman: Peer, ours: Store, skopeo: Tool, tmp_path: Path) -> None:
    destination = f"docker-archive:{tmp_path}/image.tar:docker.io/library/traveller:1"
    skopeo("copy", f"oci:{ours.home}/oci:{FULL_NAME}", destination, check=True)
    podman.cli("load", "-i", tmp_path / "image.tar", check=True)
    assert podman.cli("run", "--rm", "--network", "none", "traveller:1", check=True).stdout == "new\n"


def _tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every file below *root*: kind and mode, owner, number of links, size or link target, time in seconds."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(directory, name)
            status = path.lstat()
            content: object = path.readlink() if path.is_symlink() else ()
            if stat.S_ISREG(status.st_mode):
                content = (status.st_nlink, path.read_bytes(), int(status.st_mtime))
            found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def test_umoci_unpacks_the_files_that_we_export(ours: Store, umoci: Tool, tmp_path: Path) -> None:
    umoci("unpack", "--image", f"{ours.home}/oci:{FULL_NAME}", tmp_path / "bundle", check=True)
    (tmp_path / "rootfs.tar").write_bytes(_export(ours.cli, MADE))
    (tmp_path / "ours").mkdir()
    subprocess.run(["tar", "-xpf", tmp_path / "rootfs.tar", "-C", tmp_path / "ours", "--numeric-owner"], check=True)
    theirs, own = _tree(tmp_path / "bundle/rootfs"), _tree(tmp_path / "ours")
    skeleton = {name for name in set(own) - set(theirs) if name in _MOUNT_POINTS}
    assert set(own) - skeleton == set(theirs)
    assert {name: own[name] for name in theirs} == theirs
