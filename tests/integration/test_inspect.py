"""``inspect``: what programs written for Docker read."""

import json
from typing import Any

import pytest
from support.containers import complaint, inspected
from support.store import Store

pytestmark = pytest.mark.same_for_every_user

_STATE = (
    "Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error", "StartedAt",
    "FinishedAt",
)  # fmt: skip


def test_a_container_has_the_keys_of_dockers_api(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "-l", "a=b", "-v", "/usr/share:/data:ro", "busybox", "true", check=True)
    found = inspected(shared_store, name)
    assert tuple(found["State"]) == _STATE
    assert (found["Name"], found["Path"], found["Args"]) == (f"/{name}", "true", [])
    assert found["Config"]["Labels"]["a"] == "b"
    assert (found["Config"]["Image"], found["Config"]["Cmd"]) == ("busybox", ["true"])
    assert found["HostConfig"]["Binds"] == ["/usr/share:/data:ro"]
    assert found["Mounts"] == [
        {"Type": "bind", "Source": "/usr/share", "Destination": "/data", "Mode": "ro", "RW": False,
         "Propagation": "rprivate"}
    ]  # fmt: skip
    assert found["NetworkSettings"]["Networks"]["none"]["IPAddress"] == ""
    assert found["NetworkSettings"]["IPAddress"] == ""
    assert {"LowerDir", "MergedDir", "UpperDir", "WorkDir"} == set(found["GraphDriver"]["Data"])
    assert "SizeRw" not in found


def test_sizes_are_told_when_they_are_asked_for(shared_store: Store, name: str) -> None:
    shared_store.cli("run", "--name", name, "busybox", "sh", "-c", "echo 12345 > /file", check=True)
    (found,) = json.loads(shared_store.cli("inspect", "-s", name, check=True).stdout)
    image = inspected(shared_store, "busybox")
    assert (found["SizeRw"], found["SizeRootFs"]) == (6, 6 + image["Size"])
    assert shared_store.cli("container", "inspect", "-sf", "{{.SizeRw}}", name).stdout == "6\n"


def test_what_is_not_there_is_shown_as_go_shows_it(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)

    def shown(template: str) -> str:
        return str(shared_store.cli("inspect", "-f", template, name, check=True).stdout.rstrip("\n"))

    assert shown("{{.HostConfig.Binds}} {{json .HostConfig.Binds}} {{.HostConfig.Tmpfs}}") == "[] null map[]"
    assert shown("{{.State.Health}} {{.HostConfig.Init}} {{.HostConfig.PidsLimit}}") == "<nil> <nil> <nil>"
    assert len(shown("{{.ID}}")) == len(shown("{{.Id}}")) == 64
    missing = shared_store.cli("inspect", "-f", "{{.State.Health.Status}}", name)
    assert 'map has no entry for key "Health"' in complaint(missing, 1)


def test_an_image_has_the_keys_of_dockers_api(shared_store: Store) -> None:
    found = inspected(shared_store, "busybox")
    keys: tuple[Any, ...] = tuple(found)
    assert keys == (
        "Id", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "Container", "ContainerConfig",
        "DockerVersion", "Author", "Config", "Architecture", "Os", "Size", "VirtualSize", "GraphDriver", "RootFS",
        "Metadata",
    )  # fmt: skip
    assert {"Hostname", "Tty", "Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"} < set(found["Config"])


def test_a_type_narrows_what_a_name_may_mean(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    assert json.loads(shared_store.cli("inspect", "--type", "container", name, check=True).stdout)
    refused = shared_store.cli("inspect", "--type", "image", name)
    assert complaint(refused, 1) == f"No such image: {name}:latest"
    assert refused.stdout == "[]\n"
    assert complaint(shared_store.cli("inspect", "--type", "x", name), 1).startswith('unknown type: "x"')


def test_several_at_once_and_one_that_is_not_there(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    done = shared_store.cli("inspect", name, "nosuch", "busybox")
    assert complaint(done, 1) == "No such object: nosuch"
    assert [each["Id"][:7] == "sha256:" for each in json.loads(done.stdout)] == [False, True]
