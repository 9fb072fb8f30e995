"""``-v`` shows files and directories of the host inside, writable or not."""

import os
import stat
import subprocess

import pytest
from support.containers import complaint
from support.store import COMMAND

pytestmark = pytest.mark.same_with_more_ids


@pytest.fixture
def host(tmp_path):
    """A directory of the host's with a file in it."""
    (tmp_path / "file").write_text("from the host\n")
    return tmp_path


def test_a_directory_is_shown_and_written_to(cli, host):
    script = "cat /data/file; echo from inside > /data/new"
    done = cli("run", "--rm", "-v", f"{host}:/data", "busybox", "sh", "-c", script, check=True)
    assert done.stdout == "from the host\n"
    assert (host / "new").read_text() == "from inside\n"


def test_what_is_made_inside_belongs_to_the_caller(cli, host):
    cli("run", "--rm", "-v", f"{host}:/data", "busybox", "sh", "-c", "touch /data/new; mkdir /data/dir", check=True)
    for made in ("new", "dir"):
        status = os.stat(host / made)
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    cli("run", "--rm", "-v", f"{host}:/data", "busybox", "rm", "-r", "/data/dir", check=True)
    assert not (host / "dir").exists()


def test_a_read_only_directory_refuses_writes(cli, host):
    done = cli("run", "--rm", "-v", f"{host}:/data:ro", "busybox", "touch", "/data/new")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert os.listdir(host) == ["file"]


def test_a_single_file_is_shown_where_asked(cli, host):
    script = "cat /etc/deep/er/file; echo more >> /etc/deep/er/file"
    cli("run", "--rm", "-v", f"{host}/file:/etc/deep/er/file", "busybox", "sh", "-c", script, check=True)
    assert (host / "file").read_text() == "from the host\nmore\n"
    done = cli("run", "--rm", "-v", f"{host}/file:/file:ro", "busybox", "sh", "-c", "echo no > /file")
    assert done.returncode == 1


def test_volumes_below_volumes_are_shown_in_order(cli, host):
    (host / "outer").mkdir()
    (host / "inner").mkdir()
    (host / "inner/there").touch()
    flags = ("-v", f"{host}/inner:/data/sub", "-v", f"{host}/outer:/data")
    assert cli("run", "--rm", *flags, "busybox", "ls", "/data/sub", check=True).stdout == "there\n"


def test_devices_and_set_user_id_on_a_volume_have_no_power(cli, host):
    (host / "program").write_bytes(b"")
    os.chmod(host / "program", stat.S_ISUID | 0o755)
    done = cli("run", "--rm", "-v", f"{host}:/data", "busybox", "sh", "-c", "mknod /data/disk b 8 0 || echo refused")
    assert done.stdout == "refused\n"
    assert sorted(os.listdir(host)) == ["file", "program"]


def test_a_missing_directory_of_the_host_is_made(cli, host):
    cli("run", "--rm", "-v", f"{host}/made/here:/x", "busybox", "touch", "/x/file", check=True)
    assert os.listdir(host / "made/here") == ["file"]


def test_a_missing_source_of_a_mount_is_named(cli, host):
    done = cli("run", "--rm", "--mount", f"type=bind,src={host}/absent,dst=/x", "busybox", "true")
    assert f"bind source path does not exist: {host}/absent" in complaint(done, 125)
    assert not (host / "absent").exists()


def test_names_may_have_spaces(cli, host):
    (host / "with space").mkdir()
    (host / "with space/x").touch()
    done = cli("run", "--rm", "-v", f"{host}/with space:/in side", "busybox", "ls", "/in side", check=True)
    assert done.stdout == "x\n"


def test_the_containers_own_files_can_be_replaced(cli, host):
    for name in ("hosts", "hostname", "resolv.conf"):
        done = cli("run", "--rm", "-v", f"{host}/file:/etc/{name}", "busybox", "cat", f"/etc/{name}", check=True)
        assert done.stdout == "from the host\n"


@pytest.mark.parametrize("other", ["/x", "/x/", "//x", "/y/../x"])
def test_two_volumes_in_one_place_are_refused(cli, host, other):
    (host / "second").touch()
    done = cli("run", "--rm", "-v", f"{host}/file:/x", "-v", f"{host}/second:{other}", "busybox", "true")
    assert complaint(done, 125) == "Duplicate mount point: /x"


@pytest.mark.parametrize("root", ["/", "//", "/x/..", "/."])
def test_a_volume_over_the_root_is_refused(cli, host, root):
    assert "destination can't be '/'" in complaint(cli("run", "--rm", "-v", f"{host}:{root}", "busybox", "true"), 125)


@pytest.mark.parametrize("mode", ["", ":ro"])
def test_device_nodes_on_a_volume_do_not_open(cli, host, mode):
    done = cli("run", "--rm", "-v", f"{host}:/data{mode}", "busybox", "grep", " /data ", "/proc/self/mountinfo")
    assert "nodev" in done.stdout.split()[5].split(",")


def test_mount_points_are_made_for_everybody_whatever_the_callers_umask(shared_store, host):
    script = f"umask 077; exec {COMMAND} run --rm -v {host}:/p/q/r busybox sh -c 'umask; stat -c %a /p /p/q'"
    done = subprocess.run(["sh", "-c", script], env=shared_store.environ(), capture_output=True, text=True, timeout=30)
    assert (done.stdout.split(), done.stderr) == (["0022", "755", "755"], "")
