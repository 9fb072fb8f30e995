"""What was asked for, in the words of Docker's API."""

import msgspec

from kernel_sandbox.spec import api
from kernel_sandbox.spec.host_config import host_config, mount_points
from kernel_sandbox.spec.options import (
    Bind,
    ContainerOptions,
    Device,
    Limits,
    RestartPolicy,
    Sharing,
    Tmpfs,
    Ulimit,
    VolumeMount,
)

PLAIN = ContainerOptions(image="busybox")


def document(**options: object) -> dict[str, object]:
    shape = host_config(msgspec.structs.replace(PLAIN, **options))
    return dict(msgspec.json.decode(msgspec.json.encode(shape, enc_hook=str)))


def test_a_plain_container_has_every_key_of_the_api() -> None:
    found = document()
    for key, value in {
        "Binds": None, "ContainerIDFile": "", "NetworkMode": "none", "PortBindings": {}, "AutoRemove": False,
        "CapAdd": None, "Dns": [], "IpcMode": "private", "PidMode": "", "UTSMode": "", "ShmSize": 64 << 20,
        "ConsoleSize": [0, 0], "Memory": 0, "NanoCpus": 0, "Devices": [], "PidsLimit": None, "Ulimits": [],
        "KernelMemoryTCP": 0, "IOMaximumIOps": 0, "BlkioDeviceReadIOps": [], "OomKillDisable": False,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "SecurityOpt": None,
    }.items():  # fmt: skip
        assert found[key] == value, key
    assert not {"Init", "Mounts", "Tmpfs", "Sysctls", "StorageOpt"} & set(found)


def test_limits_are_told_in_the_apis_units() -> None:
    limits = Limits(memory=1 << 26, nano_cpus=15 * 10**8, cpuset_cpus="0", cpu_shares=100, pids=50)
    found = document(limits=limits, oom_score_adj=5, shm_size=1 << 20, storage_size=1 << 30)
    assert (found["Memory"], found["MemorySwap"], found["NanoCpus"]) == (1 << 26, 1 << 27, 1500000000)
    assert (found["CpusetCpus"], found["CpuShares"], found["PidsLimit"]) == ("0", 100, 50)
    assert (found["OomScoreAdj"], found["ShmSize"], found["StorageOpt"]) == (5, 1 << 20, {"size": "1g"})


def test_volumes_of_both_notations_stand_in_their_own_lists() -> None:
    found = document(
        binds=(Bind("/src", "/a", readonly=True, mode="ro"), Bind("/src", "/b", readonly=True, as_mount=True)),
        volumes=(
            VolumeMount("data", "/c"),
            VolumeMount("f" * 64, "/d", anonymous=True),
            VolumeMount("more", "/e", as_mount=True, copies=False),
        ),
        tmpfs=(Tmpfs("/f", ("size=1m",)), Tmpfs("/g", ("size=1048576", "mode=700"), as_mount=True)),
    )
    assert found["Binds"] == ["/src:/a:ro", "data:/c"]
    assert found["Tmpfs"] == {"/f": "size=1m"}
    assert found["Mounts"] == [
        {"Type": "bind", "Source": "/src", "Target": "/b", "ReadOnly": True},
        {"Type": "volume", "Source": "more", "Target": "/e", "VolumeOptions": {"NoCopy": True, "DriverConfig": {}}},
        {"Type": "tmpfs", "Target": "/g", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 0o700}},
    ]


def test_mount_points_tell_where_things_come_from() -> None:
    options = msgspec.structs.replace(
        PLAIN,
        binds=(Bind("/src", "/b", readonly=True, mode="ro"),),
        volumes=(VolumeMount("data", "/a"),),
        tmpfs=(Tmpfs("/hidden"), Tmpfs("/c", as_mount=True)),
    )
    volume, bind, tmpfs = mount_points(options, lambda name: f"/store/{name}")
    assert volume == api.MountPoint(
        type="volume", name="data", source="/store/data", destination="/a", driver="local", mode="z"
    )
    assert (bind.source, bind.rw, bind.mode, bind.propagation) == ("/src", False, "ro", "rprivate")
    assert (tmpfs.type, tmpfs.destination) == ("tmpfs", "/c")


def test_what_is_privileged_hides_nothing() -> None:
    found = document(privileged=True)
    assert (found["MaskedPaths"], found["ReadonlyPaths"], found["Privileged"]) == (None, None, True)
    assert document(systempaths_unconfined=True)["MaskedPaths"] == []


def test_the_rest_of_what_was_asked_for() -> None:
    found = document(
        devices=(Device("/dev/null", "/dev/x", "r"),),
        ulimits=(Ulimit("nofile", 10, 20),),
        restart=RestartPolicy("on-failure", 3),
        sharing=Sharing(pid="host", ipc="container:abc"),
        no_new_privileges=True,
        init=True,
        cap_add=("net_admin",),
    )
    assert found["Devices"] == [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]
    assert found["Ulimits"] == [{"Name": "nofile", "Hard": 20, "Soft": 10}]
    assert found["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert (found["PidMode"], found["IpcMode"], found["Init"]) == ("host", "container:abc", True)
    assert found["SecurityOpt"] == ["no-new-privileges", "label=disable"]
    assert found["CapAdd"] == ["CAP_NET_ADMIN"]
