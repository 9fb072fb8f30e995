"""Options and an image's configuration become a bundle's config.json."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import bundle, idmap, runtime
from kernel_sandbox.spec.image import ContainerConfig
from kernel_sandbox.spec.options import Bind, ContainerOptions, Limits, Network
from kernel_sandbox.spec.user import Identity

ID = "0123456789abcdef" * 4
ROOT = Identity(0, 0, (0,), "/root")
MANY = idmap.own_range(0)
ONE = idmap.single(1000)
IMAGE = ContainerConfig(env=("A=image",), entrypoint=("entry",), cmd=("default",), working_dir="/work")


def host(id_map: idmap.IdMap = MANY) -> bundle.Host:
    own_files = (Bind("/store/hosts", "/etc/hosts"),)
    return bundle.Host(id_map, id_map, "x86_64", "6.1.0", cpus=2, environment_files=own_files)


def make(
    id_map: idmap.IdMap = MANY, identity: Identity = ROOT, image: ContainerConfig = IMAGE, **options
) -> runtime.Spec:
    return bundle.make(ID, ContainerOptions(image="image", **options), image, identity, host(id_map))


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
    assert next(mount for mount in shared.mounts if mount.destination == "/sys").type == "none"


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
    assert resources == runtime.Resources(runtime.Memory(1 << 23), runtime.Pids(5))


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
    assert document["process"]["noNewPrivileges"] is False
