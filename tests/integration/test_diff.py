"""``diff``: what a container has added, changed and deleted, in Docker's letters."""

from collections.abc import Iterator

import pytest
from support.containers import complaint
from support.store import Store
from support.waiting import wait_until

pytestmark = pytest.mark.same_with_more_ids

CHANGES = """
    mkdir -p /new/sub; echo > /new/file; ln -s nowhere /new/link; mkfifo /new/fifo
    chmod 700 /tmp; touch /etc; rm /bin/true; echo more >> /etc/group; chmod 600 /etc/passwd
    cp -p /bin/busybox /bin/b2; mv /bin/b2 /bin/cat
    rm -r /old/removed; rm -r /old/became-file; echo > /old/became-file
    rm /old/became-dir; mkdir /old/became-dir; echo > /old/became-dir/in
    rm -r /old/emptied; mkdir /old/emptied; touch /old/touched-dir; chmod 640 /old/untouched-content
    : > /old/truncated; cat /old/read; mkdir '/sp ace'; mkdir -p /tmp2/only; rmdir /tmp2/only
"""
OLD = """
    mkdir -p /old/removed/deep /old/became-file/x /old/emptied /old/touched-dir; echo > /old/became-dir
    echo > /old/emptied/a; echo > /old/emptied/b; echo > /old/untouched-content; echo abc > /old/truncated
    echo > /old/read; echo > /old/removed/deep/file
"""
EXPECTED = """\
C /etc
C /etc/group
C /etc/passwd
A /new
A /new/fifo
A /new/file
A /new/link
A /new/sub
C /old
C /old/became-dir
A /old/became-dir/in
C /old/became-file
C /old/emptied
D /old/emptied/a
D /old/emptied/b
D /old/removed
C /old/truncated
C /old/untouched-content
A /sp ace
C /tmp
A /tmp2
C /usr
C /usr/bin
C /usr/bin/cat
D /usr/bin/true
"""


@pytest.fixture
def changed(shared_store: Store, name: str) -> Iterator[str]:
    """A container that runs and has changed what an image has in all its layers."""
    shared_store.cli("run", "--name", name, "busybox", "sh", "-c", OLD, check=True)
    image = shared_store.cli("commit", name, f"{name}:old", check=True).stdout.strip()
    shared_store.cli("rm", name, check=True)
    script = f"cd /; {CHANGES.strip()}\n touch /ready; rm /ready; echo done; exec sleep 600"
    shared_store.cli("run", "-d", "--name", name, image, "sh", "-c", script, check=True)
    wait_until(lambda: "done" in shared_store.cli("logs", name).stdout, timeout=20)
    yield name
    shared_store.cli("rm", "-f", name)
    shared_store.cli("rmi", f"{name}:old")


def test_every_kind_of_change_has_its_letter(shared_store: Store, changed: str) -> None:
    running = shared_store.cli("diff", changed, check=True).stdout
    assert running == EXPECTED
    shared_store.cli("kill", changed, check=True)
    shared_store.cli("wait", changed, check=True)
    assert shared_store.cli("diff", changed, check=True).stdout == EXPECTED
    assert shared_store.cli("container", "diff", changed, check=True).stdout == EXPECTED


def test_a_container_that_changed_nothing_shows_nothing(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    assert shared_store.cli("diff", name, check=True).stdout == ""
    shared_store.cli("start", "-a", name, check=True)
    assert shared_store.cli("diff", name, check=True).stdout == ""


def test_mount_points_and_the_working_directory_show_as_in_docker(shared_store: Store, name: str) -> None:
    flags = ("-v", "/volume", "--tmpfs", "/memory", "-w", "/work/here")
    shared_store.cli("run", "--name", name, *flags, "busybox", "touch", "/volume/x", "/memory/x", check=True)
    assert shared_store.cli("diff", name, check=True).stdout == "A /memory\nA /volume\nA /work\nA /work/here\n"
    shared_store.cli("rm", "-v", name, check=True)


def test_names_of_any_bytes_are_shown(shared_store: Store, name: str) -> None:
    script = "touch \"$(printf '/not utf-8 \\377')\" /ünicode"
    shared_store.cli("run", "--name", name, "busybox", "sh", "-c", script, check=True)
    assert shared_store.cli("diff", name, check=True).stdout == "A /not utf-8 \N{REPLACEMENT CHARACTER}\nA /ünicode\n"


def test_a_container_that_does_not_exist_is_named(shared_store: Store) -> None:
    assert complaint(shared_store.cli("diff", "nosuch"), 1) == "No such container: nosuch"
