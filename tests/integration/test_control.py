"""``pause``, ``unpause``, ``restart``, ``rename``, ``attach``, ``--init``: what is done to containers that run."""

import io
import os
import re
import signal
import tarfile

import pytest
from support.containers import complaint, inspected, is_alive, parent, state
from support.waiting import wait_until

COUNT = ("busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /next; mv /next /count; sleep 0.02; done")


def count(cli, name: str) -> int:
    """How far the container has counted, read without running anything in it."""
    done = cli("cp", f"{name}:/count", "-", text=False)
    if done.returncode:
        return 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return int(archive.extractfile("count").read() or 0)


@pytest.fixture
def running(cli, name) -> str:
    """A container that runs until the test ends."""
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True)
    return name


def test_a_paused_container_stands_still_and_goes_on(cli, shared_store, name):
    cli("run", "-d", "--name", name, *COUNT, check=True)
    wait_until(lambda: count(cli, name) > 1)
    assert cli("pause", name, check=True).stdout == f"{name}\n"
    before = count(cli, name)
    now = state(shared_store, name)
    assert (now["Status"], now["Running"], now["Paused"]) == ("paused", True, True)
    assert "(Paused)" in cli("ps").stdout
    assert count(cli, name) == before
    cli("unpause", name, check=True)
    wait_until(lambda: count(cli, name) > before)
    assert state(shared_store, name)["Status"] == "running"


def test_pausing_twice_is_refused(cli, shared_store, running):
    id_ = inspected(shared_store, running)["Id"]
    assert complaint(cli("unpause", running), 1) == f"Container {id_} is not paused"
    cli("pause", running, check=True)
    assert complaint(cli("pause", running), 1) == f"Container {id_} is already paused"
    assert "unpause" in complaint(cli("attach", running), 1)
    assert "unpause" in complaint(cli("start", running), 1)


def test_wait_waits_for_a_paused_container(cli, shared_store, running):
    cli("pause", running, check=True)
    waiting = shared_store.start("wait", running)
    cli("unpause", running, check=True)
    assert waiting.poll() is None
    cli("kill", running, check=True)
    output, _ = waiting.communicate(timeout=10)
    assert output == b"137\n"


@pytest.mark.parametrize("command", [("stop", "-t", "2"), ("kill",), ("rm", "-f"), ("restart", "-t", "0")])
def test_a_paused_container_can_be_ended(cli, running, command):
    cli("pause", running, check=True)
    cli(*command, running, check=True, timeout=15)
    assert "(Paused)" not in cli("ps").stdout


def test_a_paused_container_whose_monitor_was_killed_is_mended(cli, shared_store, running):
    cli("pause", running, check=True)
    pid = state(shared_store, running)["Pid"]
    os.kill(parent(pid), signal.SIGKILL)
    wait_until(lambda: state(shared_store, running)["Status"] == "exited")
    wait_until(lambda: not is_alive(pid))


def test_restart_gives_another_process_in_the_same_files(cli, shared_store, running):
    cli("exec", running, "touch", "/kept", check=True)
    before = state(shared_store, running)
    assert cli("restart", "-t", "0", running, check=True).stdout == f"{running}\n"
    after = state(shared_store, running)
    assert after["Running"]
    assert after["Pid"] != before["Pid"]
    assert cli("exec", running, "ls", "/kept").returncode == 0
    cli("stop", "-t", "0", running, check=True)
    cli("restart", running, check=True)
    assert state(shared_store, running)["Running"], "one that does not run is started"
    assert inspected(shared_store, running)["RestartCount"] == 0


def test_rename_moves_a_name(cli, running, name):
    other = f"{name}-other"
    try:
        assert cli("rename", running, other, check=True).stdout == ""
        assert "No such container" in complaint(cli("exec", name, "true"), 1)
        assert cli("exec", other, "true").returncode == 0
        cli("create", "--name", name, "busybox", check=True)
        assert "already in use" in complaint(cli("rename", other, name), 1)
        assert "Invalid container name" in complaint(cli("rename", other, "!"), 1)
        assert "same name" in complaint(cli("rename", other, other), 1)
    finally:
        cli("rm", "-f", other)


def test_attach_shows_what_comes_and_ends_as_the_container_does(cli, shared_store, name):
    script = "echo early; read line; echo got $line; exit 5"
    cli("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: cli("logs", name).stdout == "early\n")
    done = cli("attach", name, input="word\n")
    assert (done.returncode, done.stdout) == (5, "got word\n")
    assert "start it first" in complaint(cli("attach", name), 1)


def test_attach_to_one_that_ends_before_input_gives_its_status(cli, shared_store, running):
    process = shared_store.start("attach", running)
    attached = ("--filter", f"container={running}", "--filter", "event=attach")
    wait_until(lambda: cli("events", "--since", "1m", "--until", "0s", *attached).stdout)
    cli("kill", running, check=True)
    assert process.wait(10) == 137
    process.stdout.close()
    process.stderr.close()


def test_an_init_reaps_orphans_and_passes_signals_on(cli, shared_store, name):
    script = "trap 'exit 6' TERM; (sleep 0.01 &); echo ready; while :; do sleep 0.05; done"
    cli("run", "-d", "--init", "--name", name, "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: "ready" in cli("logs", name).stdout)
    assert "docker-init" in cli("exec", name, "ps").stdout
    wait_until(lambda: not re.search(r"\[sleep\]|sleep 0\.01$", cli("exec", name, "ps").stdout, re.MULTILINE))
    cli("stop", name, check=True)
    assert state(shared_store, name)["ExitCode"] == 6
    assert cli("run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$").returncode == 137
    assert cli("run", "--rm", "--init", "busybox", "missing").returncode == 127


def test_a_terminal_of_its_own(cli):
    script = "tty; test -c /dev/console && echo console; echo err >&2"
    done = cli("run", "--rm", "-t", "busybox", "sh", "-c", script, text=False)
    assert done.stdout == b"/dev/pts/0\r\nconsole\r\nerr\r\n"
    assert cli("run", "--rm", "busybox", "sh", "-c", "test -e /dev/console").returncode == 1


def test_any_user_may_write_to_its_standard_streams(cli, shared_store):
    done = cli("run", "--rm", "busybox", "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
