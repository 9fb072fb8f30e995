"""Files are read from layers as the mounted filesystem would show them, and never from outside."""

import os
import stat
import threading

import pytest

from kernel_sandbox.storage.merged import read_file
from kernel_sandbox.storage.overlay import OPAQUE_XATTR

OUTSIDE = b"outside"


@pytest.fixture
def layers(tmp_path):
    """Three layers, topmost first, and a file beside them that nobody may read."""
    tops = [tmp_path / name for name in ("upper", "middle", "lower")]
    for top in tops:
        (top / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(OUTSIDE)
    return tops


def read(layers, path: str = "etc/passwd", limit: int = 100) -> bytes:
    return read_file([str(layer) for layer in layers], path, limit)


def test_the_topmost_file_is_read(layers):
    (layers[2] / "etc/passwd").write_bytes(b"lower")
    assert read(layers) == b"lower"
    (layers[1] / "etc/passwd").write_bytes(b"middle")
    assert read(layers) == b"middle"


def test_not_more_than_the_limit_is_read(layers):
    (layers[2] / "etc/passwd").write_bytes(b"x" * 1000)
    assert read(layers, limit=10) == b"x" * 10


@pytest.mark.skipif(os.geteuid() != 0, reason="a whiteout is a device, which root of a user namespace may make too")
def test_a_whiteout_hides_what_is_below(layers):
    (layers[2] / "etc/passwd").write_bytes(b"lower")
    os.mknod(layers[1] / "etc/passwd", stat.S_IFCHR, 0)
    assert read(layers) == b""


def test_an_opaque_directory_hides_what_is_below(layers):
    (layers[2] / "etc/passwd").write_bytes(b"lower")
    os.setxattr(layers[1] / "etc", OPAQUE_XATTR, b"y")
    assert read(layers) == b""


def test_a_file_in_the_place_of_a_directory_hides_it(layers):
    (layers[2] / "etc/passwd").write_bytes(b"lower")
    (layers[0] / "etc").rmdir()
    (layers[0] / "etc").write_bytes(b"a file")
    assert read(layers) == b""


@pytest.mark.parametrize("target", ["real", "/etc/real", "../etc/real", "../../../../etc/real", "/../etc/./real"])
def test_links_are_followed_inside(layers, target):
    (layers[0] / "etc/passwd").symlink_to(target)
    (layers[2] / "etc/real").write_bytes(b"real")
    assert read(layers) == b"real"


@pytest.mark.parametrize("target", ["../../secret", "{top}/secret", "/proc/self/cwd", "passwd", "/", "../etc", "fifo"])
def test_what_leads_out_or_nowhere_or_is_no_file_reads_as_empty(layers, tmp_path, target):
    os.mkfifo(layers[1] / "etc/fifo")
    (layers[0] / "etc/passwd").symlink_to(target.format(top=tmp_path))
    assert read(layers) == b""


def test_a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere(layers, tmp_path):
    # A container that runs owns its names; `exec -u NAME` reads its accounts all the same (CVE-2018-15664).
    (layers[0] / "etc/passwd").write_bytes(b"inside")
    (tmp_path / "passwd").write_bytes(OUTSIDE)
    bait, aside = layers[0] / "bait", layers[0] / "aside"
    bait.symlink_to(tmp_path)
    going_on = True

    def exchange() -> None:
        while going_on:
            os.rename(layers[0] / "etc", aside)
            os.rename(bait, layers[0] / "etc")
            os.rename(layers[0] / "etc", bait)
            os.rename(aside, layers[0] / "etc")

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        seen = {read(layers) for _ in range(2000)}
    finally:
        going_on = False
        thread.join()
    assert seen <= {b"inside", b""}
