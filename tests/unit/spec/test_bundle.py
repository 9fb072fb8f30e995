"""Options and an image's configuration become a bundle's config.json."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import bundle, capabilities, idmap, runtime
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.options import Bind, ContainerOptions, Limits, Network, Sharing, Tmpfs, Ulimit
from kernel_sandbox.spec.user import Identity

ID = "0123456789abcdef" * 4
ROOT = Identity(0, 0, (0,), "/root")
MANY = idmap.own_range(0)
ONE = idmap.single(1000)
IMAGE = ContainerConfig(env=("A=image",), entrypoint=("entry",), cmd=("default",), working_dir="/work")


def host(id_map: idmap.IdMap = MANY, **facts) -> bundle.Host:
    own_files = (Bind("/store/hosts", "/etc/hosts"),)
    return bundle.Host(
        id_map, id_map, "x86_64", "6.1.0", cpus=2, environment_files=own_files, hostname="machine", **facts
    )


def make(
    id_map: idmap.IdMap = MANY,
    identity: Identity = ROOT,
    image: ContainerConfig = IMAGE,
    joined: dict[str, int] | None = None,
    devices: tuple[Bind, ...] = (),
    **options,
) -> runtime.Spec:
    facts = host(id_map, joined=joined or {}, devices=devices)
    return bundle.make(ID, ContainerOptions(image="image", **options), image, identity, facts)


def mount_at(spec: runtime.Spec, destination: str) -> runtime.Mount:
    return next(mount for mount in spec.mounts if mount.destination == destination)


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, ("entry", "default")),
        ({"command": ("given",)}, ("entry", "given")),
        ({"entrypoint": ("other",)}, ("other",)),
        ({"entrypoint": ("other",), "command": ("given",)}, ("other", "given")),
        ({"entrypoint": (), "command": ("given",)}, ("given",)),
    ],
)
def test_the_command_is_entrypoint_and_arguments(options, command):
    assert make(**options).process.args == command


def test_no_command_at_all_is_refused():
    with pytest.raises(UsageError, match="No command specified"):
        make(image=ContainerConfig())
    with pytest.raises(UsageError):
        make(entrypoint=())


def test_the_environment_is_dockers_then_the_images_then_the_users():
    spec = make(env=("B=user", "A=user"))
    assert spec.process.env == (bundle.DEFAULT_PATH, "HOSTNAME=0123456789ab", "A=user", "B=user", "HOME=/root")
    assert "HOME=/mine" in make(env=("HOME=/mine",)).process.env
    assert not [entry for entry in make(env=("PATH=/p",)).process.env if entry == bundle.DEFAULT_PATH]


def test_the_working_directory_is_the_users_then_the_images_then_the_root():
    assert make(workdir="/mine").process.cwd == "/mine"
    assert make().process.cwd == "/work"
    assert make(image=ContainerConfig(cmd=("x",))).process.cwd == "/"


def test_root_has_dockers_capabilities_and_others_none_in_effect():
    held = make().process.capabilities
    assert held.effective == held.permitted == held.bounding
    assert len(held.bounding) == 14
    assert (held.inheritable, held.ambient) == ((), ())
    other = make(identity=Identity(7, 7, (7,), "/")).process.capabilities
    assert (other.effective, other.permitted, len(other.bounding)) == ((), (), 14)


def test_an_id_that_is_not_mapped_is_refused_with_advice():
    with pytest.raises(UsageError, match="subuid"):
        make(ONE, Identity(7, 0, (0,), "/"))
    with pytest.raises(UsageError, match="group 7"):
        make(ONE, Identity(0, 7, (7,), "/"))
    assert make(ONE, Identity(0, 0, (0, 50), "/")).process.user.additional_gids == (0,)


def test_every_namespace_is_new_but_the_hosts_network_on_request():
    every = {"user", "mount", "pid", "network", "ipc", "uts", "cgroup"}
    assert {namespace.type for namespace in make().linux.namespaces} == every
    shared = make(network=Network.HOST)
    assert {namespace.type for namespace in shared.linux.namespaces} == every - {"network"}
    assert shared.linux.sysctl == {}
    assert "rbind" in mount_at(shared, "/sys").options


@pytest.mark.parametrize(
    ("sharing", "shared", "path"),
    [
        (Sharing(pid="host"), "pid", "/proc"),
        (Sharing(cgroup="host"), "cgroup", "/sys/fs/cgroup"),
        (Sharing(ipc="host"), "ipc", "/dev/shm"),
    ],
)
def test_a_namespace_of_the_hosts_comes_with_the_hosts_filesystem(sharing, shared, path):
    spec = make(sharing=sharing)
    assert shared not in {namespace.type for namespace in spec.linux.namespaces}
    assert "rbind" in mount_at(spec, path).options
    assert "rbind" not in mount_at(make(), path).options


def test_another_containers_namespaces_are_joined_with_its_users():
    sharing = Sharing(pid="container:a", network="container:a", ipc="container:a")
    spec = make(sharing=sharing, joined={"a": 7})
    paths = {namespace.type: namespace.path for namespace in spec.linux.namespaces}
    joined = {"pid": "/proc/7/ns/pid", "network": "/proc/7/ns/net", "ipc": "/proc/7/ns/ipc", "user": "/proc/7/ns/user"}
    assert paths == {"mount": "", "uts": "", "cgroup": "", **joined}
    assert spec.linux.sysctl == {}
    assert mount_at(spec, "/dev/shm").source == "/proc/7/root/dev/shm"


def test_without_ipc_there_is_no_shared_memory():
    assert "/dev/shm" not in {mount.destination for mount in make(sharing=Sharing(ipc="none")).mounts}


def test_the_host_name_is_the_machines_where_that_is_shared():
    assert make().hostname == ID[:12]
    assert make(network=Network.HOST).hostname == make(sharing=Sharing(uts="host")).hostname == "machine"
    assert make(network=Network.HOST, hostname="mine").hostname == "mine"


def test_privileged_means_all_capabilities_and_nothing_masked_or_refused():
    spec = make(privileged=True, cap_drop=("ALL",))
    assert spec.process.capabilities.effective == capabilities.ALL
    assert (spec.linux.seccomp, spec.linux.masked_paths, spec.linux.readonly_paths) == (None, (), ())
    assert "rw" in mount_at(spec, "/sys").options and "rw" in mount_at(spec, "/sys/fs/cgroup").options


def test_unconfined_paths_are_not_masked():
    spec = make(systempaths_unconfined=True)
    assert (spec.linux.masked_paths, spec.linux.readonly_paths) == ((), ())
    assert spec.linux.seccomp is not None


def test_the_last_limit_of_a_name_counts_and_minus_one_is_none():
    limits = (Ulimit("nofile", 5, 9), Ulimit("core", -1, -1), Ulimit("nofile", 7, 8))
    assert make(ulimits=limits).process.rlimits == (
        runtime.Rlimit("RLIMIT_CORE", 2**64 - 1, 2**64 - 1),
        runtime.Rlimit("RLIMIT_NOFILE", 8, 7),
    )


def test_a_terminal_has_a_type():
    assert "TERM=xterm" in make(tty=True).process.env
    assert "TERM=mine" in make(tty=True, env=("TERM=mine",)).process.env
    assert not [entry for entry in make().process.env if entry.startswith("TERM=")]


def test_memory_is_mounted_without_programs_unless_asked_for():
    plain, able = (mount_at(make(tmpfs=(Tmpfs("/t", words),)), "/t") for words in (("size=1m",), ("exec", "mode=700")))
    assert plain.options == ("noexec", "nosuid", "nodev", "size=1m")
    assert able.options == ("nosuid", "nodev", "mode=700")


def test_shared_memory_has_the_size_that_is_asked_for_and_gives_way_to_a_mount():
    assert "size=67108864" in mount_at(make(), "/dev/shm").options
    assert "size=4096" in mount_at(make(shm_size=4096), "/dev/shm").options
    mounts = make(binds=(Bind("/s", "/dev/shm"),)).mounts
    assert [mount.source for mount in mounts if mount.destination == "/dev/shm"] == ["/s"]


def test_nothing_of_the_users_replaces_proc():
    mounts = make(binds=(Bind("/s", "/proc"),)).mounts
    assert [mount.type for mount in mounts if mount.destination == "/proc"] == ["proc", "none"]


def test_devices_are_binds_that_may_be_opened():
    mount = mount_at(make(devices=(Bind("/dev/a", "/dev/b"),)), "/dev/b")
    assert mount.source == "/dev/a" and "nodev" not in mount.options


def test_settings_are_added_to_the_usual_ones():
    asked = {"net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "99"}
    found = make(sysctls=asked).linux.sysctl
    assert asked.items() <= found.items() and "net.ipv4.ping_group_range" in found


def test_a_group_that_does_not_exist_inside_is_refused_when_asked_for():
    with pytest.raises(UsageError, match="group 7"):
        make(ONE, Identity(0, 0, (0, 7), "/", added_gids=(7,)))


def test_sysctls_fit_the_groups_that_exist():
    assert make().linux.sysctl["net.ipv4.ping_group_range"] == "0 65535"
    assert make(ONE).linux.sysctl["net.ipv4.ping_group_range"] == "0 0"


def test_the_terminals_group_is_named_only_where_it_exists():
    def pts(spec: runtime.Spec) -> tuple[str, ...]:
        return next(mount.options for mount in spec.mounts if mount.destination == "/dev/pts")

    assert "gid=5" in pts(make())
    assert not [option for option in pts(make(ONE)) if option.startswith("gid=")]


def test_volumes_come_after_the_kernels_filesystems_and_outer_before_inner():
    binds = (Bind("/in", "/data/a/b"), Bind("/out", "/data", readonly=True))
    mounts = make(binds=binds).mounts
    assert [mount.destination for mount in mounts[-3:]] == ["/data", "/etc/hosts", "/data/a/b"]
    assert "ro" in mounts[-3].options and "rw" in mounts[-1].options


def test_a_volume_replaces_the_containers_own_file_and_no_volume_has_devices():
    mounts = make(binds=(Bind("/mine", "/etc/hosts"),)).mounts
    assert [mount.source for mount in mounts if mount.destination == "/etc/hosts"] == ["/mine"]
    assert "nodev" in mounts[-1].options


def test_a_variable_of_an_image_without_a_name_is_left_out():
    env = make(image=ContainerConfig(env=("=x", "A=1"), cmd=("x",))).process.env
    assert "A=1" in env and not [entry for entry in env if entry.startswith("=")]


def test_limits_are_there_when_asked_for():
    assert make().linux.resources is None
    resources = make(limits=Limits(memory=1 << 23, pids=5)).linux.resources
    assert resources == runtime.Resources(memory=runtime.Memory(1 << 23, swap=1 << 24), pids=runtime.Pids(5))


def test_seccomp_can_be_left_out():
    assert make().linux.seccomp is not None
    assert make(seccomp_unconfined=True).linux.seccomp is None


def test_masked_and_read_only_paths_are_dockers():
    linux = make().linux
    assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} <= set(linux.masked_paths)
    assert linux.readonly_paths == ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def test_the_document_reads_back_and_has_the_specifications_names():
    spec = make(limits=Limits(memory=1 << 23), readonly=True)
    assert runtime.decode(runtime.encode(spec)) == spec
    document = msgspec.json.decode(runtime.encode(spec))
    assert document["ociVersion"].startswith("1.")
    assert document["root"] == {"path": "rootfs", "readonly": True}
    assert document["linux"]["uidMappings"][0].keys() == {"containerID", "hostID", "size"}
    assert document["linux"]["resources"]["memory"] == {"limit": 1 << 23, "swap": 1 << 24}
