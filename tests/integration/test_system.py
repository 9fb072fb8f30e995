"""``info``, ``version``, ``system df`` and ``prune``."""

import json
import os
import platform
import re

import pytest
from support.containers import IS_ROOT, complaint
from support.store import Store

pytestmark = pytest.mark.same_for_every_user


def test_the_version_is_the_installed_one(shared_store: Store) -> None:
    done = shared_store.cli("version", "--format", "{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}", check=True)
    client, server, system = done.stdout.split()
    assert client == server
    assert system == "linux"
    assert f"  Version:          {server}" in shared_store.cli("version", check=True).stdout.splitlines()
    assert json.loads(shared_store.cli("version", "-f", "json", check=True).stdout)["Server"]["KernelVersion"]


def test_info_tells_of_the_store_and_of_the_machine(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    found = json.loads(shared_store.cli("info", "--format", "json", check=True).stdout)
    assert found["Containers"] == found["ContainersRunning"] + found["ContainersPaused"] + found["ContainersStopped"]
    assert found["Containers"] >= 1
    assert found["Images"] >= 1
    assert (found["NCPU"], found["KernelVersion"]) == (os.cpu_count(), platform.release())
    assert found["DockerRootDir"] == str(shared_store.home)
    assert ("name=rootless" in found["SecurityOptions"]) is not IS_ROOT
    text = shared_store.cli("system", "info", check=True).stdout
    for line in (" Storage Driver: overlay", f" Kernel Version: {platform.release()}", f" CPUs: {os.cpu_count()}"):
        assert line in text.splitlines()


def test_df_counts_what_images_containers_and_volumes_take(store: Store) -> None:
    store.bootstrap("busybox")
    store.cli("run", "busybox", "sh", "-c", "head -c 1000000 /dev/zero > /file", check=True)
    store.cli("tag", "busybox", "again", check=True)
    rows = [line.split("|") for line in store.cli(
        "system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}", check=True
    ).stdout.splitlines()]  # fmt: skip
    assert rows[0][:3] == ["Images", "1", "1"]
    assert re.fullmatch(r"[0-9.]+MB", rows[0][3])
    assert rows[1] == ["Containers", "1", "0", "1MB", "1MB (100%)"]
    assert rows[2] == ["Local Volumes", "0", "0", "0B", "0B"]
    assert rows[3] == ["Build Cache", "0", "0", "0B", "0B"]
    head = store.cli("system", "df", check=True).stdout.splitlines()[0]
    assert head == "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE"
    detail = store.cli("system", "df", "-v", check=True).stdout
    assert "Containers space usage:" in detail
    assert "again" in detail
    assert json.loads(store.cli("system", "df", "-v", "--format", "json", check=True).stdout)["Images"]


def test_prune_asks_first(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    for answer in ("", "n\n", "yes\n"):
        asked = shared_store.cli("container", "prune", input=answer, check=True)
        assert asked.stdout == (
            "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "
        )
    assert shared_store.cli("inspect", name).returncode == 0


def test_prune_removes_what_does_not_run(store: Store) -> None:
    store.bootstrap("busybox")
    kept = store.cli("create", "-l", "keep", "busybox", "true", check=True).stdout.strip()
    old = store.cli("create", "busybox", "true", check=True).stdout.strip()
    running = store.cli("run", "-d", "busybox", "sleep", "100", check=True).stdout.strip()
    assert store.cli("container", "prune", "-f", "--filter", "until=1h", check=True).stdout == (
        "Total reclaimed space: 0B\n"
    )
    pruned = store.cli("container", "prune", "--filter", "label!=keep", input="y\n", check=True)
    assert f"Deleted Containers:\n{old}\n\nTotal reclaimed space: 0B\n" in pruned.stdout
    assert store.containers() == {kept, running}
    assert complaint(store.cli("container", "prune", "-f", "--filter", "colour=red"), 1) == "Invalid filter 'colour'"
    store.cli("rm", "-f", running, check=True)


def test_system_prune_removes_unused_images_when_told_to(store: Store) -> None:
    store.bootstrap("busybox")
    store.cli("run", "--name", "writer", "busybox", "sh", "-c", "head -c 5000 /dev/zero > /file", check=True)
    store.cli("commit", "writer", check=True)  # without a name: dangling
    first = store.cli("system", "prune", "-f", check=True).stdout
    assert "Deleted Containers:\n" in first
    assert "Deleted Images:\ndeleted: sha256:" in first
    assert first.endswith("Total reclaimed space: 10kB\n")
    assert store.cli("images", "-q", check=True).stdout != ""
    everything = store.cli("system", "prune", "-af", check=True).stdout
    assert "untagged: busybox:latest" in everything
    assert store.cli("images", "-q", check=True).stdout == ""


def test_what_system_prune_would_remove_is_said(shared_store: Store) -> None:
    asked = shared_store.cli("system", "prune", "-a", "--volumes", "--filter", "label=x", check=True).stdout
    assert "  - all anonymous volumes not used by at least one container\n" in asked
    assert "  - label=x\n" in asked
    refused = shared_store.cli("system", "prune", "--volumes", "-f", "--filter", "until=1h")
    assert complaint(refused, 1) == 'The "until" filter is not supported with "--volumes"'
