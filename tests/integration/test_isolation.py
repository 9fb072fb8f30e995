"""What a container cannot see and cannot do: Docker's baseline, read from inside one busybox container."""

import os
from pathlib import Path

import pytest
from support.containers import IS_ROOT, ids_inside, inspected

NAMESPACES = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup")
DEVICES = {"null", "zero", "full", "random", "urandom", "tty"}
LINKS = {"fd", "stdin", "stdout", "stderr", "ptmx"}
FACTS = """
section() { echo "== $1"; }
section namespaces; for n in user mnt pid net uts ipc cgroup; do readlink /proc/self/ns/$n; done
section processes; echo /proc/[0-9]*
section init; cat /proc/1/comm
section mounts; cat /proc/self/mountinfo
section dev; ls /dev
section fds; ls /proc/self/fd
section status; cat /proc/self/status
section cgroup; cat /proc/self/cgroup
section uid_map; cat /proc/self/uid_map
section gid_map; cat /proc/self/gid_map
section groups; id -G
section shm; df -k /dev/shm | tail -1
section umask; umask
section masked; for p in kcore keys timer_list interrupts; do [ -e /proc/$p ] && wc -c < /proc/$p; done
section masked_directories; for d in /proc/acpi /proc/scsi /sys/firmware; do ls -A $d 2> /dev/null; done
section limits; cat /proc/sys/net/ipv4/ip_unprivileged_port_start
section tty; tty
true
"""


@pytest.fixture(scope="module")
def facts(shared_store) -> dict[str, list[str]]:
    """What one container says about itself, section by section."""
    done = shared_store.cli("run", "--rm", "busybox", "sh", "-c", FACTS, check=True)
    sections: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("== "):
            lines = sections.setdefault(line[3:], [])
        else:
            lines.append(line)
    return sections


@pytest.fixture(scope="module")
def mounts(facts) -> dict[str, tuple[str, set[str]]]:
    """Mount point → filesystem type and mount options."""
    rows = [line.partition(" - ") for line in facts["mounts"]]
    return {before.split()[4]: (after.split()[0], set(before.split()[5].split(","))) for before, _, after in rows}


@pytest.fixture(scope="module")
def status(facts) -> dict[str, str]:
    """The rows of /proc/self/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in facts["status"])}


def test_every_namespace_is_the_containers_own(facts):
    assert len(facts["namespaces"]) == len(NAMESPACES)
    for name, inside in zip(NAMESPACES, facts["namespaces"], strict=True):
        assert inside != os.readlink(f"/proc/self/ns/{name}"), name


def test_the_command_is_process_1_and_sees_no_other(facts):
    assert facts["init"] == ["sh"]
    assert facts["processes"] == ["/proc/1"]


def test_no_descriptor_of_the_host_is_open(facts):
    assert facts["fds"] == ["0", "1", "2", "3"], "the fourth is the listing's own"


def test_there_is_no_terminal(facts):
    assert facts["tty"] == ["not a tty"]


def test_the_baseline_mounts_are_there(mounts):
    assert mounts["/"][0] == "overlay"
    expected = {
        "/proc": ("proc", {"rw", "nosuid", "nodev", "noexec"}),
        "/sys": ("sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        "/dev": ("tmpfs", {"rw", "nosuid"}),
        "/dev/pts": ("devpts", {"rw", "nosuid", "noexec"}),
        "/dev/shm": ("tmpfs", {"rw", "nosuid", "nodev", "noexec"}),
        "/dev/mqueue": ("mqueue", {"rw", "nosuid", "nodev", "noexec"}),
    }
    for target, (fstype, options) in expected.items():
        assert mounts[target][0] == fstype, target
        assert options <= mounts[target][1], target


def test_control_groups_are_shown_read_only(mounts, facts):
    shown = {target: options for target, (fstype, options) in mounts.items() if target.startswith("/sys/fs/cgroup")}
    assert shown
    assert all("ro" in options for options in shown.values())
    assert all(line.split(":", 2)[2] == "/" for line in facts["cgroup"] if "kernel-sandbox" in line)


def test_no_mount_tells_where_the_store_is(facts, shared_store):
    lines = [line for line in facts["mounts"] if " /etc/" not in line]
    assert not [line for line in lines if "lowerdir=/" in line and str(shared_store.home) in line]


def test_dev_has_dockers_nodes_and_no_more(facts):
    assert set(facts["dev"]) - {"core"} == DEVICES | LINKS | {"pts", "shm", "mqueue"}


def test_shared_memory_has_64_megabytes(facts):
    assert int(facts["shm"][0].split()[1]) == 65536


def test_dangerous_files_of_proc_read_as_empty(facts):
    assert set(facts["masked"]) == {"0"}
    assert facts["masked_directories"] == []


def test_the_status_is_dockers(status):
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert status[name] == "00000000a80425fb", name
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"
    assert status["SigIgn"] == status["SigBlk"] == "0000000000000000"


def test_the_umask_is_dockers(facts):
    assert facts["umask"] == ["0022"]


def test_root_inside_is_not_root_outside(facts):
    for name in ("uid_map", "gid_map"):
        first = facts[name][0].split()
        assert first[0] == "0"
        assert first[1] != "0", "the container's root is the host's"
    if not IS_ROOT:
        assert facts["uid_map"][0].split()[1] == str(os.geteuid())


def test_no_group_of_the_callers_remains(facts, shared_store):
    # setgroups(2) is not for a caller with a single id: what it is a member of shows as nobody's group.
    groups = set(facts["groups"][0].split())
    assert groups == {"0"} if ids_inside(shared_store) > 1 else groups <= {"0", "65534"}


def test_a_low_port_needs_no_privilege(facts):
    assert facts["limits"] == ["0"]


REFUSED = {
    "a user namespace": "unshare -U true",
    "a mount namespace": "unshare -m true",
    "a mount": "mount -t tmpfs none /mnt",
    "a bind mount": "mount --bind /etc /mnt",
    "an unmount": "umount /proc/kcore",
    "a remount": "mount -o remount,rw /sys",
    "a device": "mknod /tmp/disk b 8 0",
    "the host name": "hostname other",
    "a sysctl": "echo 1 > /proc/sys/kernel/panic",
    "sysrq": "echo h > /proc/sysrq-trigger",
    "a control group": "mkdir /sys/fs/cgroup/memory/mine /sys/fs/cgroup/mine",
    "the kernel log": "dmesg",
    "a chroot's way out": "nsenter -t 1 -m true",
    "swap": "swapon /etc/passwd",
    "a module": "insmod /etc/passwd",
    "a namespace's file": "mount --bind /proc/self/ns/net /etc/hostname",
}


def test_what_would_leave_the_sandbox_is_refused(shared_store):
    attempts = (f'({command}) > /dev/null 2>&1 && echo "{what}"' for what, command in REFUSED.items())
    script = "\n".join(("mkdir -p /mnt", *attempts, "true"))
    done = shared_store.cli("run", "--rm", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.splitlines() == [], "allowed inside"


def test_proc_is_read_only_where_it_rules_the_kernel(mounts):
    for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"):
        if Path(f"/proc/{name}").exists():
            assert mounts[f"/proc/{name}"][0] == "proc"
            assert "ro" in mounts[f"/proc/{name}"][1]


SYSTEM_CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
names = "keyctl add_key bpf perf_event_open userfaultfd io_uring_setup kexec_load"
names += " open_by_handle_at setns unshare clone3"
numbers = {
    "x86_64": (250, 248, 321, 298, 323, 425, 246, 304, 308, 272, 435),
    "aarch64": (219, 217, 280, 241, 282, 425, 104, 265, 268, 97, 435),
}[os.uname().machine]
for name, number in zip(names.split(), numbers):
    result = libc.syscall(number, 0x10000000 if name == "unshare" else 0, 0, 0, 0, 0)
    print(name, ctypes.get_errno() if result < 0 else "allowed")
"""


def test_dangerous_system_calls_are_refused(shared_store, python_image):
    done = shared_store.cli("run", "--rm", "-i", python_image, "python3", "-", input=SYSTEM_CALLS, check=True)
    answers = dict(line.split() for line in done.stdout.splitlines())
    assert answers.pop("clone3") == "38", "glibc falls back to clone where clone3 is not there"
    assert set(answers.values()) == {"1"}, answers


def test_containers_of_root_have_ids_of_their_own(cli, shared_store, name):
    if not IS_ROOT:
        pytest.skip("an ordinary user's containers all have the user's own subordinate ids")
    script = "cat /proc/self/uid_map; exec sleep 100"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    try:
        first = Path(f"/proc/{inspected(shared_store, name)['State']['Pid']}/uid_map").read_text().split()
        second = cli("run", "--rm", "busybox", "cat", "/proc/self/uid_map", check=True).stdout.split()
    finally:
        cli("rm", "-f", name)
    (_, start, count), (_, other, other_count) = map(int, first), map(int, second)
    assert start + count <= other or other + other_count <= start


def test_the_host_sees_the_process_without_its_privileges(cli, shared_store, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    pid = inspected(shared_store, name)["State"]["Pid"]
    rows = dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    outside = int(rows["Uid"].split()[0])
    assert outside >= 65536 if IS_ROOT else outside == os.geteuid()
    cli("rm", "-f", name, check=True)
