"""A bundle's mounts become operations, in order."""

from kernel_sandbox.spec import mounts, runtime
from kernel_sandbox.spec.mounts import (
    BindMount,
    ControlGroups,
    DeviceNode,
    Directory,
    KernelParameter,
    Mask,
    Memory,
    NewFilesystem,
    Protect,
    SharedMemory,
    SymbolicLink,
)

CWD = Directory("/work")


def spec(*wanted: runtime.Mount, **linux) -> runtime.Spec:
    process = runtime.Process(runtime.User(0, 0), ("x",), (), "/work", runtime.Capabilities())
    return runtime.Spec("1.1.0", process, runtime.Root("rootfs"), "host", wanted, runtime.Linux((), **linux))


def test_options_are_split_into_attributes_and_the_filesystems_own():
    devpts = runtime.Mount("/pts", "devpts", "devpts", ("nosuid", "noexec", "ro", "rw", "mode=755", "newinstance"))
    attributes = mounts.NOSUID | mounts.NOEXEC | mounts.RDONLY
    expected = NewFilesystem("/pts", "devpts", attributes, (("mode", "755"), ("newinstance", None)))
    assert mounts.plan(spec(devpts)) == (expected, CWD)


def test_a_users_memory_is_its_own_kind():
    tmpfs = runtime.Mount("/tmp", "tmpfs", "tmpfs", ("nosuid", "noatime", "rslave", "size=1m"))
    assert mounts.plan(spec(tmpfs)) == (Memory("/tmp", mounts.NOSUID | mounts.NOATIME, (("size", "1m"),)), CWD)


def test_another_containers_shared_memory_is_found_by_its_process():
    shared = runtime.Mount("/dev/shm", "tmpfs", "/proc/7/root/dev/shm", ("rbind", "nodev"))
    assert mounts.plan(spec(shared)) == (SharedMemory("/dev/shm", 7, mounts.NODEV), CWD)


def test_a_bind_follows_the_host_on_request_and_the_kernels_are_marked():
    slave = runtime.Mount("/x", "none", "/s", ("rbind", "rslave"))
    proc = runtime.Mount("/proc", "proc", "/proc", ("rbind",))
    assert mounts.plan(spec(slave, proc)) == (
        BindMount("/x", "/s", 0, follows=True),
        BindMount("/proc", "/proc", 0, is_kernels=True),
        CWD,
    )


def test_binds_keep_their_order():
    wanted = [runtime.Mount(target, "none", "/s", ("rbind", mode)) for target, mode in (("/b", "ro"), ("/a", "rw"))]
    assert mounts.plan(spec(*wanted)) == (BindMount("/b", "/s", mounts.RDONLY), BindMount("/a", "/s", 0), CWD)


def test_control_groups_are_their_own_kind():
    assert mounts.plan(spec(runtime.Mount("/c", "cgroup", "cgroup", ("ro",)))) == (
        ControlGroups("/c", mounts.RDONLY),
        CWD,
    )


def test_dev_gets_its_nodes_and_links_at_once():
    first, *rest = mounts.plan(spec(runtime.Mount("/dev", "tmpfs"), runtime.Mount("/dev/shm", "tmpfs")))
    assert first == NewFilesystem("/dev", "tmpfs", 0, ())
    assert {op.target for op in rest if isinstance(op, DeviceNode)} == {f"/dev/{name}" for name in mounts.DEVICES}
    links = {op.target: op.content for op in rest if isinstance(op, SymbolicLink)}
    assert links["/dev/fd"] == "/proc/self/fd" and links["/dev/ptmx"] == "pts/ptmx"
    assert rest[-2:] == [NewFilesystem("/dev/shm", "tmpfs", 0, ()), CWD]


def test_the_working_directory_settings_masks_and_protection_come_last():
    planned = mounts.plan(
        spec(
            runtime.Mount("/proc", "proc"),
            sysctl={"net.ipv4.ip_forward": "1"},
            masked_paths=("/proc/kcore",),
            readonly_paths=("/proc/sys",),
        )
    )
    assert planned[1:] == (
        CWD,
        KernelParameter("/proc/sys/net/ipv4/ip_forward", "1"),
        Mask("/proc/kcore"),
        Protect("/proc/sys"),
    )
