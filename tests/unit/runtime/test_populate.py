"""An empty volume gets what the image has in its place: all of it, and nothing from anywhere else."""

import os
import stat
import subprocess

import pytest

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.runtime import populate

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


@pytest.fixture
def host(tmp_path):
    """A directory of the host's that nothing may come from, or go to."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("secret")
    return tmp_path / "host"


def fill(volume, root, target="/data"):
    descriptors = [os.open(path, os.O_PATH) for path in (volume, root)]
    try:
        populate.fill(*descriptors, target)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def listing(directory):
    """Every name below a directory, with what ``stat`` tells of it."""
    done = subprocess.run(
        ["find", ".", "-printf", "%p %y %m %U %G %s %T@ %l %n\n"], cwd=directory, capture_output=True, text=True
    )
    return sorted(done.stdout.splitlines())


def test_files_of_every_kind_come_with_all_that_they_have(root, volume):
    data = root / "data"
    (data / "sub/deep").mkdir(parents=True)
    (data / "file").write_text("content")
    (data / "empty").touch()
    os.chmod(data / "file", 0o4751)
    os.link(data / "file", data / "sub/again")
    (data / "link").symlink_to("sub/deep")
    (data / "dangling").symlink_to("/no/such")
    os.mkfifo(data / "fifo", 0o622)
    os.setxattr(data / "file", "user.note", b"kept")
    os.setxattr(data / "sub", "user.note", b"kept too")
    if IS_ROOT:
        os.chown(data / "sub/deep", 12, 34)
        os.chown(data / "link", 56, 78, follow_symlinks=False)
        os.chown(data / "empty", 1, 2)
    os.chmod(data / "sub/deep", 0o2770)
    for name in ("file", "empty", "sub/deep", "sub", "."):
        os.utime(data / name, ns=(10**18 + 1, 10**18 + 123456789))
    os.utime(data / "link", ns=(5, 6), follow_symlinks=False)
    fill(volume, root)
    assert listing(volume) == listing(data)
    assert (volume / "file").read_text() == "content"
    assert os.getxattr(volume / "file", "user.note") == b"kept"
    assert os.getxattr(volume / "sub", "user.note") == b"kept too"
    assert os.path.samefile(volume / "file", volume / "sub/again")


def test_the_directorys_own_mode_comes_along(root, volume):
    (root / "data").mkdir()
    os.chmod(root / "data", 0o1777)
    fill(volume, root)
    assert stat.S_IMODE(os.stat(volume).st_mode) == 0o1777


def test_names_of_any_bytes_are_copied(root, volume):
    (root / "data").mkdir()
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b" ", b"a" * 255):
        with open(os.path.join(os.fsencode(root), b"data", name), "wb") as file:
            file.write(name)
    fill(volume, root)
    assert sorted(os.listdir(os.fsencode(volume))) == sorted(os.listdir(os.path.join(os.fsencode(root), b"data")))


def test_holes_stay_holes(root, volume):
    (root / "data").mkdir()
    with open(root / "data/sparse", "wb") as file:
        file.seek(1 << 40)
        file.write(b"end")
    fill(volume, root)
    status = os.stat(volume / "sparse")
    assert status.st_size == (1 << 40) + 3
    assert status.st_blocks < 1000
    with open(volume / "sparse", "rb") as file:
        file.seek(1 << 40)
        assert file.read() == b"end"


def test_a_volume_with_something_in_it_stays_as_it_is(root, volume):
    (root / "data").mkdir()
    (root / "data/file").write_text("image")
    (volume / "own").touch()
    fill(volume, root)
    assert os.listdir(volume) == ["own"]


def test_what_the_image_does_not_have_leaves_the_volume_empty(root, volume):
    fill(volume, root)
    assert os.listdir(volume) == []


def test_a_volume_over_a_file_is_refused(root, volume):
    (root / "data").write_text("file")
    with pytest.raises(ContainerStartError, match="cannot mount volume over existing file, file exists /data"):
        fill(volume, root)


def test_an_interrupted_copy_is_completed_and_nothing_in_the_volume_is_lost(root, volume):
    (root / "data/sub").mkdir(parents=True)
    for name in ("first", "second", "sub/third"):
        (root / "data" / name).write_text("image")
    (volume / ".kernel-sandbox.unfilled").touch()
    (volume / ".kernel-sandbox.half").write_text("ima")
    (volume / "first").write_text("changed meanwhile")
    (volume / "sub").mkdir()
    (volume / "sub/own").touch()
    fill(volume, root)
    assert sorted(os.listdir(volume)) == ["first", "second", "sub"]
    assert sorted(os.listdir(volume / "sub")) == ["own", "third"]
    assert (volume / "first").read_text() == "changed meanwhile"
    assert (volume / "second").read_text() == "image"


@pytest.mark.parametrize("link", ["../host", "{host}", "../../../../../../{host}"])
def test_a_link_at_the_target_leads_nowhere_outside_the_root(root, volume, host, link):
    (root / "data").symlink_to(link.format(host=host))
    fill(volume, root)
    assert os.listdir(volume) == []


def test_a_link_above_the_target_stays_inside_the_root(root, volume, host):
    (root / "there").mkdir()
    (root / "there/host").mkdir()
    (root / "there/host/file").write_text("inside")
    (root / "data").symlink_to("/there")
    fill(volume, root, "/data/host")
    assert os.listdir(volume) == ["file"]


def test_links_in_the_image_are_copied_as_links(root, volume, host):
    (root / "data").mkdir()
    (root / "data/escape").symlink_to(host)
    (root / "data/secret").symlink_to(host / "secret")
    fill(volume, root)
    assert sorted(os.listdir(volume)) == ["escape", "secret"]
    assert all(os.path.islink(volume / name) for name in ("escape", "secret"))


@pytest.mark.parametrize("name", ["sub", ".kernel-sandbox.half", "file", ".kernel-sandbox.unfilled"])
def test_links_in_the_volume_lead_nowhere_outside_it(root, volume, host, name):
    (root / "data/sub").mkdir(parents=True)
    (root / "data/sub/planted").write_text("planted")
    (root / "data/file").write_text("planted")
    (volume / ".kernel-sandbox.unfilled").touch()
    if name != ".kernel-sandbox.unfilled":
        (volume / name).symlink_to(host / "target" if name == "file" else host)
    else:
        (volume / name).unlink()
        (volume / name).symlink_to(host / "mark")
    try:
        fill(volume, root)
    except ContainerStartError as error:
        assert "cannot copy the image's /data into the volume" in str(error)
    assert sorted(os.listdir(host)) == ["secret"]
    assert (host / "secret").read_text() == "secret"


def test_devices_are_left_out(root, volume):
    if not IS_ROOT:
        pytest.skip("only root can make a device")
    (root / "data").mkdir()
    os.mknod(root / "data/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    fill(volume, root)
    assert os.listdir(volume) == []


def test_a_tree_too_deep_to_name_is_an_error(root, volume):
    place = os.open(root, os.O_RDONLY)
    for name in ("data", *["d" * 250] * 20):
        os.mkdir(name, dir_fd=place)
        deeper = os.open(name, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    with pytest.raises(ContainerStartError, match="file name too long"):
        fill(volume, root)
    subprocess.run(["rm", "-rf", root, volume], check=True)
