"""``cp``: files into containers and out of them, running or not, and nowhere else.

A race is run for a while; for longer with ``KS_EVERY_STEP=1`` in the environment.
"""

import io
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support.containers import IS_ROOT, complaint, ids_inside
from support.store import Store
from support.waiting import wait_until

ROUNDS = "200" if os.environ.get("KS_EVERY_STEP") else "60"
RACES = """
import sys, time, os
from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import SandboxError

name, out, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = 0
with Engine.open() as engine:
    for number in range(rounds):
        try:
            engine.containers.copy_from(name, "/x/file", f"{out}/got{number}")
            done += 1
        except SandboxError:
            pass
        try:
            engine.containers.copy_to(name, sys.argv[4], "/x")
            done += 1
        except SandboxError:
            pass
print(done)
"""


@pytest.fixture
def made(shared_store: Store, name: str) -> str:
    """A container that never ran."""
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    return name


@pytest.fixture
def running(shared_store: Store, name: str) -> str:
    """A container that runs, and has the directory /d with a file in it."""
    script = "mkdir -p /d/sub; echo inside > /d/file; ln -s file /d/link; touch /ready; exec sleep 600"
    shared_store.cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: not shared_store.cli("cp", f"{name}:/ready", "-").returncode, timeout=20)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of many kinds."""
    top = tmp_path / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "file").write_bytes(b"\0binary\xff" * 1000)
    os.chmod(top / "file", 0o640)
    os.link(top / "file", top / "deep" / "hard")
    os.symlink("../file", top / "deep" / "link")
    os.symlink("/nowhere", top / "dangling")
    os.mkfifo(top / "fifo", 0o600)
    (top / ".wh.whiteout").write_text("a plain name")
    (top / ".wh..wh..opq").write_text("")
    Path(os.fsdecode(os.fsencode(top) + b"/not utf-8: \xff\n")).write_text("odd")
    (top / ("long" * 60)).write_text("long")
    (top / "closed").mkdir()
    (top / "closed" / "in").write_text("x")
    os.chmod(top / "closed", 0o500)
    with open(top / "sparse", "wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    os.setxattr(top / "file", "user.note", b"kept")
    os.utime(top / "file", ns=(1, 1_234_567_890_123_456_789))
    os.utime(top / "dangling", ns=(1, 1_000_000_000), follow_symlinks=False)
    os.utime(top / "deep", ns=(1, 1_600_000_000_000_000_001))
    return top


def described(top: Path) -> dict[str, tuple[object, ...]]:
    """All there is to know of a tree but the owners."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        regular = stat.S_ISREG(status.st_mode)
        content = os.readlink(path) if path.is_symlink() else hash(path.read_bytes()) if regular else ""
        note = os.getxattr(path, "user.note") if regular and os.listxattr(path) else b""
        time_ = 0 if path == top else status.st_mtime_ns
        found[str(path.relative_to(top))] = (
            oct(status.st_mode),
            status.st_nlink if regular else 0,
            time_,
            content,
            note,
        )
    return found


def member(archive: bytes, name: str) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getmember(name)


def streamed(store: Store, source: str) -> bytes:
    """``cp SOURCE -``."""
    return bytes(store.cli("cp", source, "-", text=False, check=True).stdout)


@pytest.mark.parametrize("state", ["made", "running"])
def test_a_tree_comes_back_as_it_went(
    shared_store: Store, request: pytest.FixtureRequest, state: str, tree: Path, tmp_path: Path
) -> None:
    name = request.getfixturevalue(state)
    shared_store.cli("cp", tree, f"{name}:/copy", check=True)
    shared_store.cli("cp", f"{name}:/copy", tmp_path / "back", check=True)
    assert described(tmp_path / "back") == described(tree)
    assert (tmp_path / "back" / "sparse").stat().st_blocks < 2048, "holes stay holes"


def test_a_container_sees_what_was_copied_into_it(shared_store: Store, running: str, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("from the host\n")
    shared_store.cli("cp", tmp_path / "new", f"{running}:/d/sub", check=True)
    done = shared_store.cli("exec", running, "cat", "/d/sub/new", check=True)
    assert done.stdout == "from the host\n"


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_container_need_not_be_going_on(shared_store: Store, running: str, tmp_path: Path, how: str) -> None:
    shared_store.cli(how, running, check=True)
    if how == "kill":
        shared_store.cli("wait", running, check=True)
    (tmp_path / "new").write_text("new")
    shared_store.cli("cp", tmp_path / "new", f"{running}:/d", check=True)
    shared_store.cli("cp", f"{running}:/d", tmp_path, check=True)
    assert sorted(os.listdir(tmp_path / "d")) == ["file", "link", "new", "sub"]
    assert (tmp_path / "d" / "file").read_text() == "inside\n"


def test_a_container_that_never_ran_starts_with_what_was_copied(shared_store: Store, name: str, tmp_path: Path) -> None:
    shared_store.cli("create", "--name", name, "busybox", "sh", "-c", "cat /etc/new; ls -ld /etc/new", check=True)
    (tmp_path / "new").write_text("new\n")
    shared_store.cli("cp", tmp_path / "new", f"{name}:/etc/", check=True)
    started = shared_store.cli("start", "-a", name, check=True)
    assert started.stdout.startswith("new\n-rw")
    assert shared_store.cli("diff", name, check=True).stdout == "C /etc\nA /etc/new\n"


def test_inside_files_belong_to_root_unless_the_owners_are_kept(shared_store: Store, made: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    if IS_ROOT:
        os.chown(tmp_path / "file", 1234, 567)
    status = os.stat(tmp_path / "file")
    shared_store.cli("cp", tmp_path / "file", f"{made}:/plain", check=True)
    shared_store.cli("cp", "-a", tmp_path / "file", f"{made}:/kept", check=True)
    plain, kept = (member(streamed(shared_store, f"{made}:/{each}"), each) for each in ("plain", "kept"))
    assert (plain.uid, plain.gid) == (0, 0)
    assert (kept.uid, kept.gid) == (status.st_uid, status.st_gid)


def test_outside_files_belong_to_the_caller_unless_the_owners_are_kept(
    shared_store: Store, made: str, tmp_path: Path
) -> None:
    shared_store.cli("cp", "-", f"{made}:/", input=_tar(("file", b"x", 0o4755, 1234)), text=False, check=True)
    shared_store.cli("cp", f"{made}:/file", tmp_path / "plain", check=True)
    shared_store.cli("cp", "-a", f"{made}:/file", tmp_path / "kept", check=True)
    plain, kept = os.stat(tmp_path / "plain"), os.stat(tmp_path / "kept")
    assert (plain.st_uid, plain.st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_IMODE(plain.st_mode) == 0o755, "no right to become the caller"
    assert (kept.st_uid, stat.S_IMODE(kept.st_mode)) == ((1234, 0o4755) if IS_ROOT else (os.geteuid(), 0o755))


def _tar(*files: tuple[str, bytes, int, int], mode: str = "w") -> bytes:
    """An archive of (name, content, mode, owner)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content, permissions, owner in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(content), permissions, owner, owner
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_unpacked_with_its_owners(shared_store: Store, made: str, mode: str) -> None:
    archive = _tar(("a/b", b"content", 0o600, 42), ("/absolute", b"", 0o644, 0), ("x/../y", b"", 0o644, 0), mode=mode)
    shared_store.cli("cp", "-", f"{made}:/tmp", input=archive, text=False, check=True)
    copied = streamed(shared_store, f"{made}:/tmp")
    found = member(copied, "tmp/a/b")
    assert (found.uid, found.mode, found.size) == (42, 0o600, 7)
    assert member(copied, "tmp/absolute") and member(copied, "tmp/y")


def test_an_archive_that_leads_out_of_its_directory_is_refused(shared_store: Store, made: str) -> None:
    done = shared_store.cli("cp", "-", f"{made}:/tmp", input=_tar(("../../out", b"", 0o644, 0)), text=False)
    assert done.returncode == 1
    assert b"outside" in done.stderr
    assert shared_store.cli("cp", f"{made}:/out", "-").returncode == 1


def test_volumes_and_binds_are_part_of_a_container(shared_store: Store, name: str, tmp_path: Path) -> None:
    for place in ("bind", "closed"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "there").write_text(place)
    flags = ("-v", f"{tmp_path}/bind:/bind", "-v", f"{tmp_path}/closed:/closed:ro", "-v", "/volume", "--tmpfs", "/mem")
    shared_store.cli("run", "-d", "--name", name, *flags, "busybox", "sleep", "600", check=True)
    (tmp_path / "new").write_text("new")
    for _ in ("running", "not running"):
        for place in ("bind", "volume"):
            shared_store.cli("cp", tmp_path / "new", f"{name}:/{place}", check=True)
        assert (tmp_path / "bind" / "new").read_text() == "new"
        assert member(streamed(shared_store, f"{name}:/closed"), "closed/there")
        assert member(streamed(shared_store, f"{name}:/volume/new"), "new")
        refused = complaint(shared_store.cli("cp", tmp_path / "new", f"{name}:/closed"), 1)
        assert refused == "mounted volume is marked read-only"
        shared_store.cli("kill", name)
        shared_store.cli("wait", name)
    shared_store.cli("rm", "-v", name, check=True)


def test_a_read_only_root_is_read_but_not_written(shared_store: Store, name: str, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    shared_store.cli("create", "--name", name, "--read-only", "-v", f"{tmp_path}:/data", "busybox", "true", check=True)
    said = complaint(shared_store.cli("cp", tmp_path / "new", f"{name}:/"), 1)
    assert said == "container rootfs is marked read-only"
    shared_store.cli("cp", tmp_path / "new", f"{name}:/data/copied", check=True)
    assert (tmp_path / "copied").read_text() == "new"
    assert member(streamed(shared_store, f"{name}:/bin/sh"), "sh")


def test_what_is_the_kernels_is_no_part_of_a_container(shared_store: Store, running: str) -> None:
    for path in ("/proc/1/status", "/sys/kernel", "/dev/null", "/proc/self/root/etc"):
        said = complaint(shared_store.cli("cp", f"{running}:{path}", "-"), 1)
        assert said == f"Could not find the file {path} in container {running}"
    with tarfile.open(fileobj=io.BytesIO(streamed(shared_store, f"{running}:/"))) as tar:
        names = tar.getnames()
    assert "proc" in {name.strip("/") for name in names}
    assert not [name for name in names if name.strip("/").startswith(("proc/", "sys/", "dev/"))]


def test_links_lead_to_other_places_of_the_container(shared_store: Store, running: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    script = f"ln -s {tmp_path} /abs; ln -s ../../../../../..{tmp_path} /rel; ln -s {secret}/file /leaf"
    shared_store.cli("exec", running, "sh", "-c", script, check=True)
    (tmp_path / "new").write_text("new")
    for source in ("/abs/secret/file", "/rel/secret/file", "/abs/", "/rel/."):
        assert complaint(shared_store.cli("cp", f"{running}:{source}", tmp_path / "got"), 1).startswith(
            "Could not find"
        )
    assert complaint(shared_store.cli("cp", "-L", f"{running}:/leaf", tmp_path / "got"), 1).startswith("Could not find")
    for destination in ("/abs/secret/file", "/rel/secret/", "/leaf", "/abs/secret"):
        shared_store.cli("cp", tmp_path / "new", f"{running}:{destination}")
    assert (secret / "file").read_text() == "of the host"
    assert sorted(os.listdir(tmp_path)) == ["new", "secret"]
    assert os.listdir(secret) == ["file"]


def test_nothing_leaks_while_a_container_swaps_directories_for_links(
    shared_store: Store, name: str, tmp_path: Path
) -> None:
    """CVE-2018-15664: a process turns /x into a link to a directory of the host's, again and again."""
    host, out = tmp_path / "host", tmp_path / "out"
    host.mkdir()
    out.mkdir()
    (host / "file").write_text("of the host")
    (tmp_path / "payload").write_text("payload")
    script = (
        f"mkdir /a; echo inside > /a/file; ln -s {host} /b; mv /a /x; "
        "while :; do mv -T /x /a; mv -T /b /x; mv -T /x /b; mv -T /a /x; done"
    )
    shared_store.cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    command = [sys.executable, "-c", RACES, name, str(out), ROUNDS, str(tmp_path / "payload")]
    done = subprocess.run(command, env=shared_store.environ(), capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "most copies meet the directory or the link, not the gap between"
    assert os.listdir(host) == ["file"]
    assert (host / "file").read_text() == "of the host"
    assert {(out / got).read_text() for got in os.listdir(out)} <= {"inside\n"}


def test_an_archive_of_a_container_makes_no_device_and_follows_no_link(
    shared_store: Store, name: str, tmp_path: Path
) -> None:
    """What a container may write into an attribute of its files does not become a device of the host's."""
    (tmp_path / "data" / "top").mkdir(parents=True)
    (tmp_path / "data" / "top" / "node").write_text("")
    os.setxattr(tmp_path / "data" / "top" / "node", "user.kernel_sandbox.node", b"b 8 0")
    (tmp_path / "data" / "top" / "sub").mkdir()
    (tmp_path / "data" / "top" / "sub" / "file").write_text("x")
    shared_store.cli("create", "--name", name, "-v", f"{tmp_path}/data:/data", "busybox", "true", check=True)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    shared_store.cli("cp", f"{name}:/data/top", out, check=True)
    assert not [path for path in out.rglob("*") if path.is_block_device() or path.is_char_device()]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "top").symlink_to(elsewhere)
    said = complaint(shared_store.cli("cp", f"{name}:/data/top", tmp_path / "linked"), 1)
    assert said.startswith("cannot overwrite non-directory")
    assert not os.listdir(elsewhere)


def test_mistakes_are_named(shared_store: Store, made: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)
        listener.bind("socket")
        os.chdir("/")
        assert "socket" in complaint(shared_store.cli("cp", tmp_path / "socket", f"{made}:/"), 1)
    assert complaint(shared_store.cli("cp", f"{made}:", "x"), 1)
    assert complaint(shared_store.cli("cp", "nosuch:/x", "y"), 1) == "No such container: nosuch"
    done = shared_store.cli("cp", "-", f"{made}:/", input="this is no archive" * 100)
    assert "tar archive" in complaint(done, 1)
    if not IS_ROOT:
        (tmp_path / "unreadable").write_text("")
        (tmp_path / "unreadable").chmod(0)
        assert "permission denied" in complaint(shared_store.cli("cp", tmp_path / "unreadable", f"{made}:/"), 1)
        assert "cannot write" in complaint(shared_store.cli("cp", f"{made}:/etc", "/"), 1)


def test_a_copy_that_is_interrupted_leaves_the_container_free(shared_store: Store, made: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stdin")
    with open(os.open(tmp_path / "stdin", os.O_RDWR), "r+b", buffering=0) as never_ends:
        never_ends.write(tarfile.TarInfo("file").tobuf())
        process = shared_store.start("cp", "-", f"{made}:/", stdin=never_ends, start_new_session=True)
        wait_until(lambda: not select.select((never_ends,), (), (), 0)[0])
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode
    wait_until(lambda: not shared_store.cli("start", made).returncode, timeout=10)


def test_copies_of_one_container_may_overlap(shared_store: Store, running: str, tmp_path: Path) -> None:
    processes = []
    for number in range(6):
        (tmp_path / str(number)).write_text(str(number))
        processes.append(shared_store.start("cp", str(tmp_path / str(number)), f"{running}:/d/sub/"))
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len(shared_store.cli("exec", running, "ls", "/d/sub", check=True).stdout.split()) == 6


def test_what_a_copy_brings_is_committed(shared_store: Store, made: str, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    shared_store.cli("cp", tmp_path / "new", f"{made}:/new", check=True)
    image = shared_store.cli("commit", made, check=True).stdout.strip()
    assert shared_store.cli("run", "--rm", image, "cat", "/new", check=True).stdout == "new"
    shared_store.cli("rmi", image, check=True)


def test_ids_that_a_container_lacks_are_kept_or_refused(shared_store: Store, made: str) -> None:
    """With one id an owner is remembered; with subordinate ids one beyond them is an error that says so."""
    done = shared_store.cli("cp", "-", f"{made}:/tmp", input=_tar(("file", b"", 0o644, 3_000_000)), text=False)
    if ids_inside(shared_store) == 1:
        assert member(streamed(shared_store, f"{made}:/tmp/file"), "file").uid == 3_000_000
    else:
        assert done.returncode == 1
        assert b"3000000" in done.stderr


def test_an_archive_does_not_go_to_a_terminal(shared_store: Store, made: str) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        process = shared_store.start("cp", f"{made}:/etc", "-", stdout=terminal)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"terminal" in said


def test_a_terminal_is_told_what_was_copied(shared_store: Store, made: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.utime(tmp_path / "file", ns=(0, 0))
    for flags, told in ((), f"Successfully copied 2.05kB to {made}:/tmp\r\n".encode()), (("-q",), b""):
        ours, theirs = os.openpty()
        process = shared_store.start("cp", *flags, str(tmp_path / "file"), f"{made}:/tmp", stdout=theirs)
        assert process.wait(timeout=20) == 0
        os.write(theirs, b"end")
        said = b""
        while not said.endswith(b"end"):
            said += os.read(ours, 1000)
        assert said == told + b"end"
        process.communicate()
        os.close(ours)
        os.close(theirs)


def test_copies_are_events(shared_store: Store, made: str, tmp_path: Path) -> None:
    shared_store.cli("cp", f"{made}:/etc/passwd", tmp_path / "passwd", check=True)
    shared_store.cli("cp", tmp_path / "passwd", f"{made}:/tmp", check=True)
    flags = ("--since", "1h", "--until", "0s", "--filter", f"container={made}", "--format", "{{.Action}}")
    expected = ["create", "archive-path", "extract-to-dir"]
    wait_until(lambda: shared_store.cli("events", *flags, check=True).stdout.split() == expected, interval=0.2)
