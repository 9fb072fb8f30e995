"""Images through a real registry between Docker, skopeo and ours: one image has one id and one digest everywhere."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.blobs import DOCKER, OCI, RemoteImage, descriptor, index_of, remote_image
from support.client import client_of
from support.peers import Peer
from support.registries import Registry, registry
from support.side_by_side import Outcome, rich_rootfs_tar
from support.store import Store, temporary_store
from support.tar_files import Entry

Tool = Callable[..., subprocess.CompletedProcess[str]]

CHANGE = "echo new > /new; chmod 4750 /new; chown 1000:10 /new; rm /opt/link; ln /new /opt/hard; rm -r /opt/sticky"
LOOK = ("sh", "-c", "cat /new; stat -c '%a %u:%g %h' /new /opt/hard; ls /opt")


@pytest.fixture(scope="module")
def remote() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture(scope="module")
def ours() -> Iterator[Store]:
    with temporary_store() as store:
        yield store


def make(cli: Tool, rootfs: Path, name: str) -> str:
    """An image of two layers, made by either engine; returns its id."""
    cli("import", rootfs, "base", check=True)
    cli("run", "--network", "none", "--name", "changed", "base", "sh", "-c", CHANGE, check=True)
    cli("commit", "-c", 'CMD ["cat", "/new"]', "changed", name, check=True)
    cli("rm", "changed", check=True)
    return id_of(cli, name)


def id_of(cli: Tool, name: str) -> str:
    return str(json.loads(cli("inspect", name, check=True).stdout)[0]["Id"])


def digest_in(pushed: subprocess.CompletedProcess[str]) -> str:
    return pushed.stdout.split(" digest: ")[1].split()[0]


def test_what_is_pushed_here_runs_in_docker(docker: Peer, ours: Store, remote: Registry, rootfs: Path) -> None:
    name = f"{remote.host}/ours:1"
    made = make(ours.cli, rootfs, name)
    digest = digest_in(ours.cli("push", name, check=True))
    seen = json.loads(remote.skopeo("inspect", "docker://ours:1"))
    assert (seen["Digest"], len(seen["Layers"]), seen["RepoTags"]) == (digest, 2, ["1"])
    pulled = docker.cli("pull", name, check=True)
    assert f"Digest: {digest}" in pulled.stdout
    assert id_of(docker.cli, name) == made
    there = docker.cli("run", "--rm", "--network", "none", name, *LOOK, check=True).stdout
    assert there == ours.cli("run", "--rm", name, *LOOK, check=True).stdout
    docker.cli("rmi", name, check=True)


def test_what_docker_pushes_runs_here(docker: Peer, ours: Store, remote: Registry, rootfs: Path) -> None:
    name = f"{remote.host}/theirs:1"
    made = make(docker.cli, rootfs, name)
    digest = digest_in(docker.cli("push", name, check=True))
    assert f"Digest: {digest}" in ours.cli("pull", name, check=True).stdout
    assert id_of(ours.cli, name) == made
    here = ours.cli("run", "--rm", name, *LOOK, check=True).stdout
    assert here == docker.cli("run", "--rm", "--network", "none", name, *LOOK, check=True).stdout
    # And on: what came from Docker goes to another repository byte for byte.
    ours.cli("tag", name, f"{remote.host}/theirs/again:1", check=True)
    again = ours.cli("push", f"{remote.host}/theirs/again:1", check=True)
    assert digest_in(again) == digest
    assert again.stdout.count("Mounted from theirs") == 2
    docker.cli("rmi", name, "base", check=True)


def test_what_skopeo_copies_runs_here(ours: Store, remote: Registry, rootfs: Path, tmp_path: Path) -> None:
    made = make(ours.cli, rootfs, "local:1")
    source = f"oci:{ours.home}/oci:docker.io/library/local:1"
    plain = f"dir:{tmp_path}/plain"
    remote.skopeo("copy", "--dest-decompress", source, plain)
    for copied in (
        remote.push(source, "copied:schema2", "--format", "v2s2"),
        remote.push(plain, "copied:zstd", "--dest-compress-format", "zstd"),
        remote.push(plain, "copied:plain", "--preserve-digests"),
    ):
        with temporary_store() as store, client_of(store) as client:
            client.pull(copied)
            image = client.engine.images.find(copied)
            assert image.id == made, copied
            top, *_ = client.engine.images.layer_directories(image)
            assert Path(top, "new").read_text() == "new\n", copied


STEPS = """
    tag base HOST/words:1
    push HOST/words:1
    push HOST/words:1
    tag base HOST/words:2
    push -a HOST/words
    tag base HOST/words/more
    push HOST/words/more
    push -q HOST/words/more
    pull HOST/words:1
    rmi HOST/words:1
    pull HOST/words:1
    pull --all-tags HOST/words
    rmi HOST/words:1 HOST/words:2 HOST/words/more base HOST/index:x
    pull HOST/words:1
    pull -q HOST/words:2
    run --rm --network none HOST/words:3 true                     | Unable to find image 'HOST/words:3' locally
    rmi HOST/words:2
    run --rm --network none HOST/words:2 echo hi                  | Unable to find image 'HOST/words:2' locally
    run --rm --network none --pull always -q HOST/words:2 echo hi
    create --pull never HOST/nosuch true                          | No such image: HOST/nosuch:latest
    pull HOST/nosuch                                              | manifest for HOST/nosuch:latest not found
    pull HOST/words:nosuch                                        | not found: manifest unknown: manifest unknown
    pull -a HOST/nosuch                                           | repository name not known to registry
    pull -a HOST/words:1                                          | tag can't be used with --all-tags/-a
    push HOST/nosuch                             | An image does not exist locally with the tag: HOST/nosuch
    push HOST/words:nosuch                                        | tag does not exist: HOST/words:nosuch
    push HOST/words@sha256:DIGEST                                 | cannot push a digest reference
    pull HOST/index                                               | no matching manifest for linux/
    pull --platform linux/s390x HOST/index
    pull scratch                                                  | 'scratch' is a reserved name
    pull --platform linux/s390x HOST/single
    pull --platform linux/s390x -q HOST/single
    pull HOST/windows            | image operating system "windows" cannot be used on this platform
    pull HOST/again
    pull --platform bogus HOST/index                              | unknown operating system or architecture
    pull HOST/chart                                               | unsupported media type application/vnd.cncf.helm
"""


def test_the_words_are_dockers(docker: Peer, tmp_path: Path) -> None:
    """Each side has a registry of its own and no other image of these layers, so that both do all the work."""
    rootfs = rich_rootfs_tar(tmp_path)
    with registry() as theirs, registry() as own, temporary_store() as store, ThreadPoolExecutor(2) as both:
        sides = ((docker.cli, theirs), (store.cli, own))
        for cli, where in sides:
            cli("import", rootfs, "base", check=True)
            cli("tag", "base", f"{where.host}/index:x", check=True)
            cli("push", f"{where.host}/index:x", check=True)
            stock(where)
        for line in STEPS.strip().splitlines():
            command, _, said = map(str.strip, line.partition("|"))
            answers = tuple(both.map(lambda side, asked=command: answer(*side, asked), sides))
            assert answers[0][:2] == answers[1][:2], f"{command}\ndocker: {answers[0]}\nours:   {answers[1]}"
            for each in answers:
                assert said in each[2], f"{command}: {each[2]}"
        docker.cli("rmi", "-f", *docker.cli("images", "-q", f"{theirs.host}/*").stdout.split())


def stock(where: Registry) -> None:
    """An index without an image for this machine, images that no index offers, and an artifact."""
    content, media_type = where.manifest("index", "x")
    index = index_of({"linux/s390x": RemoteImage(content, media_type, {})}, DOCKER)
    where.put_manifest("index", "latest", index, DOCKER["index"])
    where.put(remote_image([Entry("a")], types=DOCKER), "single")
    where.put(remote_image(types=DOCKER, machine=("windows", "amd64")), "windows")
    where.put(remote_image([Entry("b")], [Entry("c")], [Entry("b")], types=DOCKER), "again")
    config = descriptor(b"{}", "application/vnd.cncf.helm.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": OCI["manifest"], "config": config, "layers": []}
    where.put_blob("chart", config["digest"], b"{}")
    where.put_manifest("chart", "latest", json.dumps(document).encode(), OCI["manifest"])


def answer(cli: Tool, where: Registry, command: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, without addresses, ids and the sizes of manifests."""
    done = cli(*shlex.split(command.replace("HOST", where.host).replace("DIGEST", "0" * 64)))
    outcome = Outcome.of(done)
    stdout = re.sub(r"size: \d+", "size", outcome.stdout)
    stdout = stdout.replace("<id>: Verifying Checksum\n", "")  # Docker leaves out what follows too fast
    stdout = re.sub(r"(?:^<id>: .*\n)+", _sorted_lines, stdout, flags=re.MULTILINE)  # several layers at once
    return outcome.status, stdout.replace(where.host, "HOST"), done.stderr.replace(where.host, "HOST")


def _sorted_lines(found: re.Match[str]) -> str:
    return "".join(sorted(found[0].splitlines(keepends=True)))
