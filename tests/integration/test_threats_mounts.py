"""Mounts under attack: targets that are exchanged while they are mounted, mounts that would come out on the host."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from support.attacks import program
from support.containers import IS_ROOT
from support.store import COMMAND
from support.tar_files import Entry, directory, link, tar_of

SECONDS = 20


@pytest.fixture
def target(tmp_path) -> Iterator[Path]:
    """A directory of the host's that nothing may change."""
    (tmp_path / "sub").mkdir()
    yield tmp_path
    assert [path.name for path in tmp_path.rglob("*")] == ["sub"]


@pytest.fixture
def exchanging(shared_store, python_image) -> Callable[..., AbstractContextManager[None]]:
    """Another container that exchanges two names for each other, without a pause, while the test goes on."""

    @contextmanager
    def run(one: str, other: str, *flags: str) -> Iterator[None]:
        command = ("run", "--rm", "-i", *flags, python_image, "python3", "-c", program("swap"), one, other)
        with shared_store.start(*command, stdin=subprocess.PIPE) as swapper:
            try:
                assert swapper.stdout.readline() == b"exchanging\n"
                yield
            finally:
                output, _ = swapper.communicate(b"", timeout=30)
        assert int(output) > 1000, "the names were exchanged all the time"

    return run


def test_a_target_that_is_exchanged_while_it_is_mounted_stays_inside(cli, exchanging, target, tmp_path_factory):
    # CVE-2021-30465, CVE-2024-45310: another container makes a link of a directory while the path is walked.
    volume, source = tmp_path_factory.mktemp("volume"), tmp_path_factory.mktemp("source")
    (volume / "place").mkdir()
    (volume / "bait").symlink_to(f"{'../' * 12}{str(target)[1:]}/sub")
    for path in (volume, source):
        path.chmod(0o777)
    (source / "mark").touch()
    shared = ("-v", f"{volume}:/volume")
    with exchanging("/volume/place", "/volume/bait", *shared):
        for number in range(6):
            inside = f"/volume/place/made{number}/deep"
            done = cli("run", "--rm", *shared, "-v", f"{source}:{inside}", "busybox", "ls", inside, timeout=SECONDS)
            assert done.stdout == "mark\n" or len(done.stderr.splitlines()) == 1


def test_a_container_that_renames_without_a_pause_keeps_no_other_from_starting(cli, exchanging):
    # openat2(2) answers EAGAIN to ".." while a name changes anywhere on the machine: it must be asked again.
    upwards = "../a/b/../b/c/../../b/c/../../../a/b/c/../../../run/resolv.conf"
    busybox = cli("run", "--rm", "busybox", "cat", "/bin/busybox", text=False, check=True).stdout
    entries = (
        Entry("bin/busybox", content=busybox, mode=0o755),
        directory("etc"),
        directory("a/b/c"),
        directory("run"),
    )
    cli(
        "import",
        "-",
        "upwards:test",
        input=tar_of((*entries, link("etc/resolv.conf", upwards))),
        text=False,
        check=True,
    )
    try:
        with exchanging("/one", "/other"):
            for _ in range(3):
                cli("run", "--rm", "upwards:test", "/bin/busybox", "true", check=True, timeout=SECONDS)
    finally:
        cli("rmi", "-f", "upwards:test")


MOUNTING = """
echo changed > /evil
mount --bind /evil /volume/file
mount -t tmpfs none /volume/place
cat /volume/file
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root makes mounts that are shared with others")
@pytest.mark.parametrize("mode", ["ro", "rw", "rshared", "rslave"])
def test_what_is_mounted_on_a_volume_inside_is_not_mounted_on_the_host(shared_store, tmp_path, mode):
    # Where systemd runs every mount is shared: its copy inside would be the host's peer (mount_namespaces(7)), and a
    # container with CAP_SYS_ADMIN of its own could put its files over the host's, even over a read-only volume's.
    run = f"{COMMAND} run --rm --cap-add SYS_ADMIN -v $0:/volume:{mode} busybox sh -c '{MOUNTING}'"
    script = (
        "mount -t tmpfs none $0 && mount --make-shared $0 && mkdir $0/place && echo kept > $0/file || exit 99\n"
        f"{run}; cat $0/file; grep -c $0 /proc/self/mountinfo"
    )
    command = ["unshare", "-m", "sh", "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=shared_store.environ(), capture_output=True, text=True, timeout=SECONDS)
    if "invalid" in done.stderr:
        pytest.skip(f"no such mode: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["changed", "kept", "1"], done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root makes mounts that are shared with others")
def test_a_volume_below_a_volume_is_not_mounted_on_the_host(shared_store, tmp_path):
    script = (
        "mount -t tmpfs none $0 && mount --make-shared $0 && mkdir $0/place || exit 99\n"
        f"{COMMAND} run --rm -v $0:/volume -v /etc:/volume/place:ro busybox ls /volume/place/hostname\n"
        "ls $0/place; grep -c $0 /proc/self/mountinfo"
    )
    command = ["unshare", "-m", "sh", "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=shared_store.environ(), capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout.splitlines() == ["/volume/place/hostname", "1"], done.stderr
