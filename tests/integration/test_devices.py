"""``--device`` and ``--privileged``: what of the host's devices is seen inside, and with which permissions."""

import os
import stat
from pathlib import Path

import pytest
from support.containers import IS_ROOT, complaint

pytestmark = pytest.mark.same_with_more_ids

ZERO = "/dev/zero"
COUNT = "head -c 5 {} | wc -c"


def test_a_device_is_seen_under_the_name_that_is_asked_for(cli):
    script = f"stat -c '%t %T' /dev/other; {COUNT.format('/dev/other')}; echo x > /dev/other && echo written"
    done = cli("run", "--rm", "--device", f"{ZERO}:/dev/other", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split("\n")[:3] == ["1 5", "5", "written"]


def test_a_device_of_roots_is_the_containers_roots(cli):
    if not IS_ROOT:
        pytest.skip("only root's container has nodes of its own")
    done = cli(
        "run", "--rm", "--device", "/dev/fuse:/dev/f/g", "busybox", "stat", "-c", "%u %g %a", "/dev/f/g", check=True
    )
    assert done.stdout.split() == ["0", "0", f"{stat.S_IMODE(os.stat('/dev/fuse').st_mode):o}"]


@pytest.mark.parametrize(
    ("permissions", "read", "written"), [("r", True, False), ("w", False, True), ("rw", True, True)]
)
def test_fewer_permissions_hold_for_root_too(cli, permissions, read, written):
    flag = f"{ZERO}:/dev/other:{permissions}"
    script = f"{COUNT.format('/dev/other')}; (echo x > /dev/other) && echo written; chmod 666 /dev/other"
    done = cli("run", "--rm", "--device", flag, "busybox", "sh", "-c", script)
    if not IS_ROOT:
        assert f"cannot give {ZERO} with the permissions {permissions}" in complaint(done, 125)
        return
    assert done.stdout.split() == ["5" if read else "0", *(["written"] if written else [])]
    assert "Operation not permitted" in done.stderr


def test_a_directory_of_devices_is_seen_whole(cli, tmp_path):
    if not IS_ROOT:
        pytest.skip("only root can make nodes for this test")
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "a", inner / "b"):
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    (tmp_path / "file").write_text("no device")
    (tmp_path / "link").symlink_to("/dev/mem")
    done = cli("run", "--rm", "--device", f"{tmp_path}:/dev/many", "busybox", "find", "/dev/many", check=True)
    assert set(done.stdout.split()) == {"/dev/many", "/dev/many/a", "/dev/many/inner", "/dev/many/inner/b"}


@pytest.mark.parametrize(
    ("source", "reason", "code"),
    [
        ("/dev/nosuch", "no such file or directory", 127),
        ("/etc/passwd", "not a device node", 125),
        ("/etc", "not a device node", 125),
    ],
)
def test_what_is_no_device_is_refused(cli, source, reason, code):
    message = complaint(cli("run", "--rm", "--device", source, "busybox", "true"), code)
    assert message == f'error gathering device information while adding custom device "{source}": {reason}'


def test_without_being_asked_for_no_device_of_the_hosts_is_there(cli):
    listed = cli("run", "--rm", "busybox", "ls", "/dev", check=True).stdout.split()
    assert not {"fuse", "mem", "kmsg", "vda", "sda", "loop0"} & set(listed)


def test_a_privileged_container_has_the_hosts_devices_and_all_capabilities(cli):
    script = "grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2; ls /dev"
    lines = cli("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True).stdout.split()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert int(lines[0], 16) == (1 << last + 1) - 1
    assert lines[1] == "0"
    nodes = {entry.name for entry in os.scandir("/dev") if not entry.is_dir() and not entry.is_symlink()}
    assert nodes - {"console", "ptmx"} <= set(lines[2:])


def test_a_privileged_container_may_write_where_others_may_not(cli):
    script = "cat /proc/self/mounts | grep -E ' (/sys|/sys/fs/cgroup/[^ ]*) ' | cut -d' ' -f4 | cut -d, -f1 | sort -u"
    assert cli("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True).stdout.split() == ["rw"]
    masked = "grep -cE ' /proc/(kcore|keys|sys|interrupts) ' /proc/mounts"
    assert cli("run", "--rm", "--privileged", "busybox", "sh", "-c", masked).stdout.split() == ["0"]
    assert int(cli("run", "--rm", "busybox", "sh", "-c", masked).stdout) > 0
    assert cli("run", "--rm", "--security-opt", "systempaths=unconfined", "busybox", "sh", "-c", masked).stdout == "0\n"


def test_groups_that_a_privileged_container_makes_go_with_it(cli):
    script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir -p $d/made/below 2>/dev/null && echo made; done; true"
    done = cli("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True)
    if IS_ROOT:
        assert "made" in done.stdout.split()


def test_a_privileged_container_of_roots_has_the_hosts_ids(cli):
    lines = cli("run", "--rm", "--privileged", "busybox", "cat", "/proc/self/uid_map", check=True).stdout.split()
    if IS_ROOT:
        assert lines == ["0", "0", "4294967295"]
    else:
        assert lines[1] == str(os.geteuid())


def test_a_privileged_container_is_still_in_a_filesystem_and_processes_of_its_own(cli):
    script = "ps | wc -l; ls / | grep -c proc; readlink /proc/1/ns/pid"
    lines = cli("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True).stdout.split()
    assert int(lines[0]) < 8
    assert lines[2] != os.readlink("/proc/self/ns/pid")
