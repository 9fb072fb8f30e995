"""``--pid``, ``--ipc``, ``--uts``, ``--userns``, ``--cgroupns``, ``--network``: the host's or another container's."""

import os
import socket
from collections.abc import Iterator

import pytest
from support.containers import IS_ROOT, complaint, ids_inside

pytestmark = pytest.mark.same_without_root

TYPES = ("pid", "ipc", "uts", "user", "cgroup", "net")


def namespaces(cli, *flags: str) -> dict[str, str]:
    """The namespaces of a container made with these flags, by type."""
    script = "; ".join(f"readlink /proc/self/ns/{type_}" for type_ in TYPES)
    lines = cli("run", "--rm", *flags, "busybox", "sh", "-c", script, check=True).stdout.split()
    return dict(zip(TYPES, lines, strict=True))


def own(type_: str) -> str:
    return os.readlink(f"/proc/self/ns/{type_}")


@pytest.fixture
def donor(cli, name) -> Iterator[str]:
    """A running container that shares what it has."""
    script = "echo hello > /dev/shm/greeting; exec sleep 100"
    cli("run", "-d", "--name", name, "--ipc", "shareable", "-h", "donor", "busybox", "sh", "-c", script, check=True)
    cli("exec", name, "sh", "-c", "until [ -s /dev/shm/greeting ]; do sleep 0.1; done", check=True, timeout=20)
    yield name
    cli("rm", "-f", name)


def test_a_container_has_namespaces_of_its_own(cli, donor):
    found = namespaces(cli)
    assert not [type_ for type_ in TYPES if found[type_] == own(type_)]
    script = "for each in /proc/self/ns/*; do readlink $each; done"
    theirs = cli("exec", donor, "sh", "-c", script, check=True).stdout.split()
    assert not set(found.values()) & set(theirs)


@pytest.mark.parametrize(
    ("flag", "type_"),
    [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup"), ("--network", "net")],
)
def test_one_namespace_is_the_hosts_and_no_other(cli, flag, type_):
    found = namespaces(cli, flag, "host")
    assert [each for each in TYPES if found[each] == own(each)] == [type_]


def test_private_is_what_a_container_has_anyway(cli):
    flags = [word for flag in ("--pid", "--ipc", "--uts", "--userns", "--cgroupns") for word in (flag, "private")]
    found = namespaces(cli, *flags)
    assert not [type_ for type_ in TYPES if found[type_] == own(type_)]


def test_the_hosts_processes_are_seen_and_cannot_be_ended(cli):
    script = f"test -d /proc/{os.getpid()} && echo seen; kill -0 {os.getpid()} && echo reached"
    assert cli("run", "--rm", "--pid", "host", "busybox", "sh", "-c", script).stdout.split()[:1] == ["seen"]
    if IS_ROOT:
        assert "reached" not in cli("run", "--rm", "--pid", "host", "busybox", "sh", "-c", script).stdout


def test_what_is_masked_in_a_proc_of_its_own_is_masked_in_the_hosts(cli):
    script = (
        "for f in /proc/interrupts /proc/keys; do [ -e $f ] && wc -c < $f; done; echo x > /proc/sys/kernel/domainname"
    )
    done = cli("run", "--rm", "--pid", "host", "busybox", "sh", "-c", script)
    assert set(done.stdout.split()) <= {"0"}
    assert "Read-only file system" in done.stderr


def test_the_hosts_name_is_seen_with_its_namespace_and_cannot_be_changed(cli):
    done = cli("run", "--rm", "--uts", "host", "busybox", "sh", "-c", "hostname; hostname changed")
    assert done.stdout == f"{socket.gethostname()}\n"
    assert done.returncode != 0
    conflict = complaint(cli("run", "--rm", "--uts", "host", "-h", "x", "busybox", "true"), 125)
    assert conflict == "conflicting options: hostname and the UTS mode"


def test_the_hosts_shared_memory_comes_with_its_ipc(cli):
    script = "grep -c ' /dev/shm ' /proc/mounts; ls /dev/shm"
    done = cli("run", "--rm", "--ipc", "host", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split()[0] == "1"
    assert set(done.stdout.split()[1:]) <= set(os.listdir("/dev/shm"))
    assert cli("run", "--rm", "--ipc", "none", "busybox", "ls", "/dev").stdout.split().count("shm") == 0


def test_the_hosts_control_groups_are_seen_and_cannot_be_written(cli):
    script = "ls /sys/fs/cgroup | wc -l; find /sys/fs/cgroup -maxdepth 3 -type d | while read d; do mkdir $d/new; done"
    done = cli("run", "--rm", "--cgroupns", "host", "busybox", "sh", "-c", script)
    assert int(done.stdout.split()[0]) > 0
    assert "Read-only file system" in done.stderr


def test_with_the_hosts_users_root_is_root(cli, shared_store):
    script = "cat /proc/self/uid_map"
    lines = cli("run", "--rm", "--userns", "host", "busybox", "sh", "-c", script, check=True).stdout.split()
    if IS_ROOT:
        assert lines == ["0", "0", "4294967295"]
    else:
        assert sum(int(size) for size in lines[2::3]) == ids_inside(shared_store)


def test_another_containers_namespaces_are_joined(cli, donor):
    flags = [word for flag in ("--pid", "--ipc", "--uts", "--network") for word in (flag, f"container:{donor}")]
    script = "; ".join(f"readlink /proc/self/ns/{type_}" for type_ in TYPES)
    theirs = cli("exec", donor, "sh", "-c", script, check=True).stdout.split()
    found = namespaces(cli, *flags)
    shared = {type_ for type_, name in zip(TYPES, theirs, strict=True) if found[type_] == name}
    assert shared == {"pid", "ipc", "uts", "net", "user"}


def test_processes_and_shared_memory_are_another_containers(cli, donor):
    flags = ("--pid", f"container:{donor}", "--ipc", f"container:{donor}", "--uts", f"container:{donor}")
    script = "ps | grep -c '[s]leep 100'; cat /dev/shm/greeting; hostname; echo answer > /dev/shm/answer"
    done = cli("run", "--rm", *flags, "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["1", "hello", "donor"]
    assert cli("exec", donor, "cat", "/dev/shm/answer").stdout == "answer\n"


@pytest.mark.parametrize("flag", ["--userns", "--cgroupns"])
def test_users_and_control_groups_can_be_another_containers(cli, donor, flag):
    type_ = {"--userns": "user", "--cgroupns": "cgroup"}[flag]
    theirs = cli("exec", donor, "readlink", f"/proc/self/ns/{type_}", check=True).stdout.strip()
    assert namespaces(cli, flag, f"container:{donor}")[type_] == theirs


def test_a_container_that_does_not_share_its_ipc_is_left_alone(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    message = complaint(cli("run", "--rm", "--ipc", f"container:{name}", "busybox", "true"), 125)
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in message


def test_a_container_that_is_not_there_or_does_not_run_cannot_be_joined(cli, name):
    assert complaint(cli("run", "--rm", "--pid", "container:nosuch", "busybox", "true"), 125) == (
        "No such container: nosuch"
    )
    cli("create", "--name", name, "busybox", "true", check=True)
    message = complaint(cli("run", "--rm", "--pid", f"container:{name}", "busybox", "true"), 125)
    assert "cannot join the namespaces of a non running container" in message
