"""``kill -9`` of anybody: afterwards ``ps -a`` tells the truth, and ``rm -f`` leaves nothing."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.containers import IS_ROOT, is_alive, parent, state
from support.store import COMMAND
from support.traces import CGROUPS, Traces
from support.waiting import wait_until

SLEEP = ("busybox", "sh", "-c", "echo ready; exec sleep 100")


@pytest.fixture
def store(store, shared_store):
    """A store of the test's own with busybox in it, whose every trace must go with its containers."""
    store.bootstrap("busybox")
    before = Traces.of(str(store.home))
    yield store
    for id_ in store.cli("ps", "-aq").stdout.split():
        store.cli("rm", "-f", id_, check=True)

    def left() -> tuple[str, ...]:
        now = Traces.of(str(store.home)).since(before)
        return tuple(trace for trace in now if trace.startswith(("processes", "mounts")) or mentions(trace))

    def mentions(trace: str) -> bool:
        return any(id_[:12] in trace for id_ in known)

    known = getattr(store, "known", ())
    wait_until(lambda: not left())
    assert not list((store.home / "containers").iterdir())


def started(store, *flags: str) -> tuple[str, int]:
    """A running detached container: its id and the pid of its first process."""
    id_ = store.cli("run", "-d", *flags, *SLEEP, check=True).stdout.strip()
    store.known = (*getattr(store, "known", ()), id_)
    wait_until(lambda: store.cli("logs", id_).stdout == "ready\n")
    return id_, state(store, id_)["Pid"]


def listed(store, id_: str) -> str:
    return next((line for line in store.cli("ps", "-a").stdout.splitlines() if line.startswith(id_[:12])), "")


def test_a_killed_client_takes_its_foreground_container_with_it(store):
    client = store.start("run", "--rm", *SLEEP)
    assert client.stdout.readline() == b"ready\n"
    id_ = store.cli("ps", "-q", "--no-trunc").stdout.strip()
    pid = state(store, id_)["Pid"]
    client.kill()
    client.communicate()
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: not listed(store, id_))
    assert not list((store.home / "containers").iterdir())


def test_a_killed_client_without_rm_leaves_an_exited_container(store):
    client = store.start("run", *SLEEP)
    assert client.stdout.readline() == b"ready\n"
    id_ = store.cli("ps", "-q", "--no-trunc").stdout.strip()
    client.kill()
    client.communicate()
    wait_until(lambda: "Exited (137)" in listed(store, id_))
    assert store.cli("logs", id_).stdout == "ready\n"


def test_a_detached_container_outlives_its_client(store):
    id_, pid = started(store)
    assert is_alive(pid)
    assert parent(parent(pid)) != os.getpid()
    store.cli("rm", "-f", id_, check=True)
    wait_until(lambda: not is_alive(pid))


def test_a_killed_monitor_is_noticed_by_the_next_command(store):
    id_, pid = started(store)
    os.kill(parent(pid), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert "Exited (137)" in listed(store, id_)
    assert state(store, id_)["Running"] is False
    assert store.cli("wait", id_).stdout == "137\n"
    assert store.cli("logs", id_).stdout == "ready\n"
    assert store.cli("start", id_).returncode == 0, "and it can be started again"
    store.cli("rm", "-f", id_, check=True)
    assert not listed(store, id_)


def test_a_killed_monitor_with_rm_leaves_nothing(store):
    id_, pid = started(store, "--rm")
    os.kill(parent(pid), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert not listed(store, id_)
    assert not list((store.home / "containers").iterdir())


def test_a_stopped_monitor_does_not_hang_the_list(store):
    id_, pid = started(store)
    monitor = parent(pid)
    os.kill(monitor, signal.SIGSTOP)
    try:
        assert "Up" in store.cli("ps", timeout=10).stdout
    finally:
        os.kill(monitor, signal.SIGCONT)
    store.cli("rm", "-f", id_, check=True)


def test_a_foreground_client_of_a_killed_monitor_says_so_in_one_line(store):
    client = store.start("run", *SLEEP)
    assert client.stdout.readline() == b"ready\n"
    id_ = store.cli("ps", "-q", "--no-trunc").stdout.strip()
    os.kill(parent(state(store, id_)["Pid"]), signal.SIGKILL)
    _, errors = client.communicate(timeout=10)
    assert client.returncode == 125
    assert errors.startswith(b"kernel-sandbox: ") and errors.count(b"\n") == 1
    assert "Exited (137)" in listed(store, id_)


def test_after_a_reboot_a_container_shows_as_exited(store):
    id_, pid = started(store)
    os.kill(parent(pid), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    with closing(sqlite3.connect(store.home / "state.db")) as database, database:
        database.execute("UPDATE containers SET started = 1 WHERE id = ?", (id_,))
    assert "Exited (255)" in listed(store, id_)
    store.cli("start", id_, check=True)
    assert "Up" in listed(store, id_)


def test_a_look_from_another_environment_ends_nothing(store, tmp_path):
    # A login shell, a service and cron have different runtime directories, or none.
    id_, pid = started(store, "--rm")
    for directory in (str(tmp_path), "/nonexistent", ""):
        assert "Up" in store.cli("ps", "-a", env={"XDG_RUNTIME_DIR": directory}).stdout
        store.cli("start", id_, env={"XDG_RUNTIME_DIR": directory}, check=True)
    assert is_alive(pid) and state(store, id_)["Pid"] == pid, "what runs already is not started again"


@pytest.mark.skipif(not IS_ROOT, reason="root's containers alone always have control groups")
def test_control_groups_that_a_killed_monitor_left_do_not_keep_a_container_from_starting(store):
    id_, _ = started(store)
    groups = [Path(directory) for directory, _, _ in os.walk(CGROUPS) if os.path.basename(directory) == id_]
    groups = [group for group in groups if not (group / "cpuset.cpus").exists()]  # takes no process before it is set
    assert groups
    store.cli("kill", id_, check=True)
    wait_until(lambda: not any(group.exists() for group in groups))
    with subprocess.Popen(["sleep", "100"]) as orphan:
        for group in groups:
            group.mkdir(parents=True)
            (group / "cgroup.procs").write_text(str(orphan.pid))
        store.cli("start", id_, check=True)
        assert orphan.wait(5) == -signal.SIGKILL
    assert "Up" in listed(store, id_)


@pytest.mark.parametrize("command", [("stop", "-t", "1"), ("kill",), ("rm", "-f")], ids=" ".join)
def test_a_log_that_is_cut_off_while_it_is_followed_holds_nothing_up(store, command):
    id_, pid = started(store)
    follower = store.start("logs", "-f", id_)
    assert follower.stdout.readline() == b"ready\n"
    os.truncate(store.home / "containers" / id_ / "logs" / f"{0:020}", 0)
    store.cli(*command, id_, check=True, timeout=15)
    wait_until(lambda: not is_alive(pid))
    _, errors = follower.communicate(timeout=10)
    assert b"Traceback" not in errors


def test_a_detached_container_keeps_nothing_of_its_callers_open(store):
    reader, writer = os.pipe()
    done = subprocess.run(
        [COMMAND, "run", "-d", *SLEEP], pass_fds=(writer,), env=store.environ(), capture_output=True, text=True
    )
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert select.select([pipe], [], [], 10)[0], "the pipe is open at the other end"
        assert pipe.read() == b""
    assert "Up" in listed(store, done.stdout.strip())


CLIENT = """
import sys
from kernel_sandbox.engine import Engine
from kernel_sandbox.spec.options import ContainerOptions

with Engine.open() as engine:
    containers = engine.containers
    command = ("sh", "-c", "echo ready; exec sleep 100")
    detached = containers.create(ContainerOptions(image="busybox", command=command))
    containers.start(detached.id).__exit__()
    attached = containers.create(ContainerOptions(image="busybox", command=command, remove=True))
    with containers.start(attached.id, foreground=True) as attachment:
        print(detached.id, attached.id, flush=True)
        sys.stdin.readline()
        print(containers.run(ContainerOptions(image="busybox", command=("echo", "still works"), remove=True))[1])
"""


@pytest.fixture
def notebook(store):
    """A Python process with an open engine, a detached container and a foreground one; and their ids."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=store.environ(), text=True,
    )  # fmt: skip
    ids = process.stdout.readline().split()
    store.known = tuple(ids)
    yield process, ids
    process.kill()
    process.communicate()


def helper_of(pid: int) -> int:
    """The warm helper among a process's children."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            if parent(int(name)) == pid and b"kernel_sandbox.engine.helper" in command:
                return int(name)
        except OSError:
            continue
    raise AssertionError("no helper")


def test_a_killed_notebook_process_takes_only_its_foreground_containers(store, notebook):
    process, (detached, attached) = notebook
    helper = helper_of(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not listed(store, attached))
    wait_until(lambda: not is_alive(helper))
    assert "Up" in listed(store, detached)


def test_a_killed_helper_loses_no_container_and_is_replaced(store, notebook):
    process, (detached, attached) = notebook
    os.kill(helper_of(process.pid), signal.SIGKILL)
    time.sleep(0.3)
    assert "Up" in listed(store, detached)
    assert "Up" in listed(store, attached)
    output, errors = process.communicate("go\n", timeout=30)
    assert "still works" in output, errors
    wait_until(lambda: not listed(store, attached))


def test_programs_of_the_current_directory_are_not_the_helpers(store, tmp_path):
    for module in ("msgspec", "select", "secrets", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text(f"open('ran-{module}', 'w')\nraise SystemExit")
    script = (
        "from kernel_sandbox.engine import Engine\n"
        "from kernel_sandbox.spec.options import ContainerOptions\n"
        "with Engine.open() as engine:\n"
        "    print(engine.containers.run(ContainerOptions('busybox', ('echo', 'ran'), remove=True))[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=store.environ(), capture_output=True, timeout=60
    )
    assert b"ran" in done.stdout, done.stderr
    assert not list(tmp_path.glob("ran-*"))


def test_a_killed_import_leaves_nothing_that_stays(store):
    process = store.start("import", "-", "half:made", stdin=subprocess.PIPE)
    process.stdin.write(bytes(10))
    process.stdin.flush()
    wait_until(lambda: list((store.home / "staging").glob("*")), timeout=10)
    process.kill()
    process.communicate()
    assert "half" not in store.cli("images").stdout
    assert store.cli("import", "-", "whole:made", input=bytes(1024), text=False).returncode == 0

    def stale() -> list:
        return list((store.home / "staging").glob("*"))

    wait_until(lambda: not stale())
