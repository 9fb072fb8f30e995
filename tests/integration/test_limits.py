"""``--memory`` and ``--pids-limit`` hold, or ``run`` says why they cannot."""

import pytest
from support.containers import IS_ROOT, complaint, inspected, state

HOG = ("busybox", "sh", "-c", "x=a; while :; do x=$x$x; done")


@pytest.fixture(scope="module")
def limits(shared_store) -> None:
    """Skip where this caller can keep no limit; that it is told so is a test of its own."""
    done = shared_store.cli("run", "--rm", "-m", "64m", "--pids-limit", "10", "busybox", "true")
    if done.returncode:
        if IS_ROOT:
            pytest.fail(done.stderr)
        pytest.skip(f"no limits for this user here: {done.stderr.strip()}")


def test_a_limit_that_cannot_be_kept_is_an_error_that_says_why(cli):
    for flags in (("-m", "64m"), ("--pids-limit", "10")):
        done = cli("run", "--rm", *flags, "busybox", "true")
        if done.returncode:
            assert not IS_ROOT
            assert "cannot" in complaint(done, 125)


def test_the_memory_limit_kills_and_inspect_says_so(cli, shared_store, name, limits):
    assert cli("run", "--name", name, "-m", "20m", *HOG).returncode == 137
    ended = state(shared_store, name)
    assert (ended["OOMKilled"], ended["ExitCode"], ended["Status"]) == (True, 137, "exited")
    assert inspected(shared_store, name)["HostConfig"]["Memory"] == 20 * 1024 * 1024


def test_a_command_within_the_limit_is_not_killed(cli, shared_store, name, limits):
    cli("run", "--name", name, "-m", "20m", "busybox", "true", check=True)
    assert state(shared_store, name)["OOMKilled"] is False


def test_memory_below_the_minimum_is_refused(cli):
    assert "6MB" in complaint(cli("run", "--rm", "-m", "5m", "busybox", "true"), 125)


def test_the_process_limit_contains_a_fork_bomb(cli, limits):
    # Each child forks again until fork(2) fails; the time limit ends those that wait.
    script = "bomb() { bomb & bomb & sleep 1; }; (bomb) 2> /tmp/errors; ls /proc | grep -c '^[0-9]'; true"
    done = cli("run", "--rm", "--pids-limit", "20", "busybox", "timeout", "5", "sh", "-c", script, timeout=40)
    assert done.returncode in (0, 2, 143)
    assert all(int(line) <= 21 for line in done.stdout.split())
    assert cli("run", "--rm", "busybox", "echo", "the host lives").stdout == "the host lives\n"


def test_a_process_within_the_limit_is_not_refused(cli, limits):
    script = "for i in 1 2 3 4 5; do sleep 0.2 & done; wait; echo done"
    assert cli("run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", script).stdout == "done\n"


def test_more_processes_than_the_limit_are_refused(cli, limits):
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo done"
    done = cli("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script)
    assert "can't fork" in done.stderr
