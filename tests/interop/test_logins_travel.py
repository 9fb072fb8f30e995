"""Logins and manifests beside Docker's own client: each reads what the other wrote."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.blobs import DOCKER, OCI, index_of, remote_image
from support.peers import Peer
from support.registries import PASSWORDS, Registry, registry
from support.store import Store
from support.tar_files import Entry

from kernel_sandbox.commands import Context, invoke

Tool = Callable[..., subprocess.CompletedProcess[str]]
ALICE = ("login", "-u", "alice", "--password-stdin")

# A helper by the protocol of docker-credential-helpers, with a file for each server.
HELPER = """#!/bin/sh
cd "$(dirname "$0")/kept" || exit 1
case $1 in
get) server=$(tr -c 'a-z0-9.\\n' _); [ -f "$server" ] && exec cat "$server"
     echo "credentials not found in native keychain"; exit 1 ;;
store) cat > new; server=$(sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' new | tr -c 'a-z0-9.\\n' _); mv new "$server" ;;
erase) server=$(tr -c 'a-z0-9.\\n' _); rm -f "$server" ;;
esac
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    with registry(users=("alice",)) as running:
        yield running


@pytest.fixture(scope="module")
def stocked() -> Iterator[Registry]:
    """An open registry with an image, and with an index of two, as OCI and as Docker have them."""
    with registry() as running:
        for name, types in (("oci", OCI), ("docker", DOCKER)):
            images = {}
            for machine in ("amd64", "arm64"):
                image = remote_image([Entry("file", content=machine)], types=types, machine=("linux", machine))
                running.put(image, "team/app", name)
                images[f"linux/{machine}"] = image
            running.put_manifest("team/app", f"{name}-index", index_of(images, types), types["index"])
        yield running


@pytest.fixture
def ours(home: Store, tmp_path: Path) -> Callable[..., str]:
    """Our command line with the configuration in ``tmp_path``; its standard output."""

    def run(*words: str, **options: str) -> str:
        return str(home.cli(*words, env={"DOCKER_CONFIG": str(tmp_path)}, check=True, **options).stdout)

    return run


@pytest.fixture
def theirs(docker: Peer, tmp_path: Path) -> Callable[..., str]:
    """Docker's, with the same."""

    def run(*words: str, **options: str) -> str:
        return str(docker.cli("--config", tmp_path, *words, check=True, **options).stdout)

    return run


def test_docker_goes_on_with_our_login_and_we_with_dockers(ours, theirs, guarded, tmp_path):
    ours(*ALICE, guarded.host, input=PASSWORDS["alice"])
    by_us = (tmp_path / "config.json").read_text()
    assert "Login Succeeded" in theirs("login", guarded.host)
    theirs("logout", guarded.host)
    theirs(*ALICE, guarded.host, input=PASSWORDS["alice"])
    assert (tmp_path / "config.json").read_text() == by_us
    assert "Login Succeeded" in ours("login", guarded.host)
    assert ours("logout", guarded.host) == theirs("logout", guarded.host)


def test_both_use_one_helper(ours, theirs, guarded, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "test"}))
    ours(*ALICE, guarded.host, input=PASSWORDS["alice"])
    by_us = json.loads((tmp_path / "config.json").read_text())
    assert "Login Succeeded" in theirs("login", guarded.host)
    theirs("logout", guarded.host)
    assert not list((tmp_path / "kept").iterdir())
    theirs(*ALICE, guarded.host, input=PASSWORDS["alice"])
    assert json.loads((tmp_path / "config.json").read_text()) == by_us
    assert "Login Succeeded" in ours("login", guarded.host)
    ours("logout", guarded.host)
    assert not list((tmp_path / "kept").iterdir())


def test_a_login_of_podmans_is_enough(podman, guarded, home, tmp_path):
    file = tmp_path / "auth.json"
    podman.cli(*ALICE, "--tls-verify=false", "--authfile", file, guarded.host, input=PASSWORDS["alice"], check=True)
    environment = {"REGISTRY_AUTH_FILE": str(file), "DOCKER_CONFIG": str(tmp_path / "empty")}
    assert home.cli("search", f"{guarded.host}/", env=environment, check=True).stdout.startswith("NAME")


@pytest.mark.parametrize("verbose", [(), ("-v",)])
@pytest.mark.parametrize("tag", ["oci", "docker", "oci-index", "docker-index"])
def test_manifests_are_shown_as_docker_shows_them(theirs, stocked, tag, verbose):
    words = ("manifest", "inspect", "--insecure", *verbose, f"{stocked.host}/team/app:{tag}")
    assert invoke(words, Context(pytest.fail)).printed() == theirs(*words)
