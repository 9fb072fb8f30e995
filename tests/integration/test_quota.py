"""``--storage-opt size=``: what a container writes cannot grow beyond a size, and the host's disk is unharmed."""

import os
import subprocess
from pathlib import Path

import pytest
from support.containers import IS_ROOT, complaint, inspected
from support.waiting import wait_until

pytestmark = pytest.mark.same_with_more_ids

QUOTA = ("--storage-opt", "size=32m")
only_root = pytest.mark.skipif(not IS_ROOT, reason="only root can mount a filesystem of a fixed size")


def devices():
    """The loop devices that have a file, with that file's name."""
    return {
        device.parent.parent.name: device.read_text().strip()
        for device in Path("/sys/block").glob("loop*/loop/backing_file")
    }


@pytest.fixture(autouse=True)
def no_device_left(home):
    """The containers of these tests take their mounts along, and the kernel soon after that their loop devices."""
    yield
    wait_until(lambda: not any(str(home.home) in file for file in devices().values()), interval=0.1)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert not [line for line in mounts if f"{home.home}/containers" in line]


def place(store, name):
    """Where a container's files are."""
    return store.home / "containers" / inspected(store, name)["Id"]


@only_root
def test_a_full_container_gets_no_space_left_on_device(cli):
    done = cli(
        "run", "--rm", *QUOTA, "busybox", "sh", "-c", "dd if=/dev/zero of=/file bs=1M count=100; echo $?; rm /file"
    )
    assert "No space left on device" in done.stderr
    assert done.stdout == "1\n"


@only_root
def test_only_what_is_written_takes_space_and_never_more_than_asked(shared_store, cli, name):
    cli("run", "--name", name, *QUOTA, "busybox", "true", check=True)
    image = place(shared_store, name) / "rw.img"
    assert os.stat(image).st_size == 32 << 20
    assert os.stat(image).st_blocks * 512 < 8 << 20
    cli("rm", name, check=True)
    cli("run", "--name", name, *QUOTA, "busybox", "sh", "-c", "while cp /bin/busybox /$((n += 1)); do :; done")
    assert os.stat(place(shared_store, name) / "rw.img").st_blocks * 512 <= 33 << 20


@only_root
def test_many_small_files_end_too(cli):
    script = "while true > /$((n += 1)); do true; done 2> /dev/null; [ $n -gt 1000 ] && echo full"
    assert cli("run", "--rm", *QUOTA, "busybox", "sh", "-c", script, check=True).stdout == "full\n"


@only_root
def test_programs_work_as_they_do_without_a_quota(cli):
    script = (
        "cp /bin/busybox /own; chmod 4755 /own; chown 7:8 /file 2> /dev/null; "
        "echo a > /file; chown 7:8 /file; ln /file /hard; ln -s file /soft; mkfifo /fifo; rm -r /tmp; mkdir /tmp; "
        "mv /tmp /renamed; stat -c %u:%g /soft /hard /renamed; touch /etc/passwd; ls /own"
    )
    done = cli("run", "--rm", *QUOTA, "busybox", "sh", "-c", script, check=True)
    assert done.stderr == ""
    assert done.stdout == "0:0\n7:8\n0:0\n/own\n"


@only_root
def test_what_was_written_is_there_at_the_next_start_and_in_commits(cli, name, shared_store):
    cli("run", "--name", name, *QUOTA, "busybox", "sh", "-c", "cat /file || echo written > /file", check=True)
    assert cli("start", "-a", name, check=True).stdout == "written\n"
    cli("commit", name, name, check=True)
    assert cli("run", "--rm", name, "cat", "/file", check=True).stdout == "written\n"
    cli("rmi", "-f", name, check=True)


@only_root
def test_after_a_reboot_everything_is_in_its_place_again(shared_store, cli, name, tmp_path):
    cli("run", "--name", name, *QUOTA, "busybox", "sh", "-c", "cat /file || echo written > /file", check=True)
    directory = place(shared_store, name) / "rw"
    for reader in (("start", "-a", name), ("export", "-o", tmp_path / "x.tar", name), ("commit", name, name)):
        subprocess.run(["umount", directory], check=True)
        assert os.listdir(directory) == []
        cli(*reader, check=True)
    listed = subprocess.run(["tar", "xOf", tmp_path / "x.tar", "file"], capture_output=True, text=True, check=True)
    assert listed.stdout == "written\n"
    assert cli("run", "--rm", name, "cat", "/file", check=True).stdout == "written\n"
    cli("rmi", "-f", name, check=True)


@only_root
def test_a_killed_monitor_leaves_neither_mount_nor_device_once_the_container_is_removed(shared_store, cli, name):
    cli("run", "-d", "--name", name, *QUOTA, "busybox", "sleep", "1000", check=True)
    pid = inspected(shared_store, name)["State"]["Pid"]
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(monitor, 9)
    assert cli("start", name, check=True).stdout == f"{name}\n"
    cli("rm", "-f", name, check=True)


@only_root
def test_each_container_has_its_own(cli):
    ids = [cli("run", "-d", *QUOTA, "busybox", "sleep", "1000", check=True).stdout.strip() for _ in range(3)]
    assert len([file for file in devices().values() if any(id_ in file for id_ in ids)]) == 3
    cli("rm", "-f", *ids, check=True)


@only_root
def test_inspect_tells_the_quota(shared_store, cli, name):
    cli("create", "--name", name, *QUOTA, "busybox", check=True)
    assert inspected(shared_store, name)["HostConfig"]["StorageOpt"] == {"size": "32m"}


@only_root
def test_volumes_do_not_count(cli):
    script = "dd if=/dev/zero of=/data/file bs=1M count=64 2> /dev/null && echo fine"
    assert cli("run", "--rm", *QUOTA, "-v", "/data", "busybox", "sh", "-c", script, check=True).stdout == "fine\n"


@only_root
def test_a_size_that_holds_nothing_is_refused(cli):
    done = cli("run", "--rm", "--storage-opt", "size=1m", "busybox", "true")
    assert complaint(done, 125) == "the storage size of a container is at least 16m"


@only_root
def test_a_missing_program_is_named(cli):
    done = cli("create", *QUOTA, "busybox", env={"PATH": "/nonexistent"})
    assert complaint(done, 1) == "cannot limit a container's storage: mkfs.ext4 is missing, install e2fsprogs"


@pytest.mark.skipif(IS_ROOT, reason="root has quotas")
def test_an_ordinary_user_is_told_why_there_is_no_quota(cli):
    assert "needs root of this machine" in complaint(cli("create", *QUOTA, "busybox"), 1)
