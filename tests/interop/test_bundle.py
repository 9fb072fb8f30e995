"""A container's ``config.json`` is an OCI bundle's: crun and runc run it.

A container's directory has no merged root filesystem (it exists in the container's mount namespace alone), so the
test gives the bundle one. What else it takes out, and why:

- the user namespace and its maps: our layers are mounted with shifted owners; the plain directory that stands in for
  them has files of root's;
- the cgroup namespace, path, limits and mount: on a machine with both versions of control groups crun refuses them,
  and neither tool should make groups beside ours;
- from the comparison, `/dev/core`, which crun makes also where there is no /proc/kcore.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.peers import Runtime
from support.store import Store, temporary_store

LOOK = """
    id; pwd; echo $A $HOME; cat /proc/sys/kernel/hostname /etc/hostname
    grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
    ls /dev /proc/acpi /sys/firmware | grep -v core; cat /proc/keys | wc -c
    touch /opt/x 2> /dev/null || echo read-only
    echo x 2> /dev/null > /proc/sys/kernel/domainname || echo protected
"""
FLAGS: tuple[tuple[str, ...], ...] = (
    (),
    ("-u", "student:wheel", "-w", "/tmp", "-e", "A=1", "-h", "bundled"),
    ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    ("--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined"),
)


@pytest.fixture(scope="module")
def ours(rootfs: Path) -> Iterator[Store]:
    with temporary_store() as store:
        store.cli("import", rootfs, "base", check=True)
        yield store


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    engine: Runtime = request.getfixturevalue(request.param)
    return engine


def _adapted(config: dict[str, Any], rootfs: Path) -> dict[str, Any]:
    """The bundle for another runtime: see the module's docstring."""
    left_out = ("cgroupsPath", "resources", "uidMappings", "gidMappings")
    linux = {key: value for key, value in config["linux"].items() if key not in left_out}
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] not in ("user", "cgroup")]
    mounts = [each for each in config["mounts"] if each["type"] != "cgroup"]
    return {**config, "root": {**config["root"], "path": str(rootfs)}, "linux": linux, "mounts": mounts}


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "defaults")
def test_the_bundle_of_a_container_runs_elsewhere_alike(
    runtime: Runtime, ours: Store, rootfs: Path, flags: tuple[str, ...], tmp_path: Path
) -> None:
    printed = ours.cli("run", "--name", "bundled", *flags, "base", "sh", "-c", LOOK, check=True).stdout
    try:
        id_ = json.loads(ours.cli("inspect", "bundled", check=True).stdout)[0]["Id"]
        config = json.loads((ours.home / "containers" / id_ / "config.json").read_text())
        adapted = _adapted(config, rootfs.parent / "rich")
        (tmp_path / "config.json").write_text(json.dumps(adapted))
        elsewhere = runtime.cli("run", "--bundle", tmp_path, f"bundled-{id_[:12]}", check=True).stdout
    finally:
        ours.cli("rm", "bundled", check=True)
    assert elsewhere == printed
