"""``--restart``: what starts again by itself, how often, and what ends that. And health checks."""

import pytest
from support.containers import inspected, state
from support.waiting import wait_until

pytestmark = pytest.mark.same_without_root


def run(cli, name: str, policy: str, script: str) -> None:
    cli("run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script, check=True)


def starts(cli, name: str) -> int:
    return cli("logs", name).stdout.count("start\n")


def test_on_failure_gives_up_after_so_many(cli, shared_store, name):
    run(cli, name, "on-failure:2", "echo start; exit 3")
    wait_until(lambda: state(shared_store, name)["Status"] == "exited")
    found = inspected(shared_store, name)
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (2, 3)
    assert starts(cli, name) == 3


def test_on_failure_leaves_success_alone(cli, shared_store, name):
    run(cli, name, "on-failure", "echo start; test -e /again && exit 0; touch /again; exit 1")
    wait_until(lambda: state(shared_store, name)["Status"] == "exited")
    assert starts(cli, name) == 2
    assert state(shared_store, name)["ExitCode"] == 0


def test_always_goes_on_until_it_is_stopped(cli, shared_store, name):
    run(cli, name, "always", "echo start")
    wait_until(lambda: starts(cli, name) >= 3)
    assert cli("stop", "-t", "1", name, check=True, timeout=20).stdout == f"{name}\n"
    assert state(shared_store, name)["Status"] == "exited"
    before = starts(cli, name)
    cli("start", name, check=True)
    wait_until(lambda: starts(cli, name) > before + 1)
    cli("rm", "-f", name, check=True)


def test_between_two_runs_it_is_restarting(cli, shared_store, name):
    run(cli, name, "always", "echo start; exit 4")
    wait_until(lambda: "Restarting (4)" in cli("ps").stdout, timeout=20)
    cli("rm", "-f", name, check=True)


def test_a_killed_container_stays_dead(cli, shared_store, name):
    run(cli, name, "always", "echo start; sleep 1000")
    wait_until(lambda: starts(cli, name) == 1)
    cli("kill", name, check=True)
    assert cli("wait", name).stdout == "137\n"
    assert state(shared_store, name)["Status"] == "exited"


def test_one_that_dies_by_itself_starts_again(cli, shared_store, name):
    run(cli, name, "unless-stopped", "echo start; sleep 1000")
    wait_until(lambda: starts(cli, name) == 1)
    cli("exec", name, "kill", "-9", "-1")
    cli("exec", name, "sh", "-c", "kill -TERM 1")
    run_before = state(shared_store, name)["Pid"]
    assert run_before, "the first process ignores what it has no handler for"


def test_update_ends_a_policy(cli, shared_store, name):
    run(cli, name, "always", "echo start; sleep 0.1")
    wait_until(lambda: starts(cli, name) >= 2)
    cli("update", "--restart", "no", name, check=True)
    wait_until(lambda: state(shared_store, name)["Status"] == "exited", timeout=20)


def test_health_is_checked_and_shown(cli, shared_store, name):
    cli(
        "run", "-d", "--name", name, "--health-cmd", "test -e /well || { echo missing; exit 1; }",
        "--health-interval", "100ms", "--health-retries", "2", "busybox", "sleep", "1000", check=True,
    )  # fmt: skip
    assert state(shared_store, name)["Health"]["Status"] in ("starting", "unhealthy")
    wait_until(lambda: state(shared_store, name)["Health"]["Status"] == "unhealthy")
    assert "(unhealthy)" in cli("ps").stdout
    last = state(shared_store, name)["Health"]["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (1, "missing\n")
    cli("exec", name, "touch", "/well", check=True)
    wait_until(lambda: state(shared_store, name)["Health"]["Status"] == "healthy")
    assert state(shared_store, name)["Health"]["FailingStreak"] == 0
    assert "(healthy)" in cli("ps", "--filter", "health=healthy").stdout


def test_a_check_that_takes_too_long_has_failed(cli, shared_store, name):
    cli(
        "run", "-d", "--name", name, "--health-cmd", "sleep 100", "--health-interval", "50ms",
        "--health-timeout", "200ms", "--health-retries", "1", "busybox", "sleep", "1000", check=True,
    )  # fmt: skip
    wait_until(lambda: state(shared_store, name)["Health"]["Status"] == "unhealthy")
    last = state(shared_store, name)["Health"]["Log"][-1]
    assert last["ExitCode"] == -1
    assert "timeout" in last["Output"]
    wait_until(lambda: "sleep 100\n" not in cli("exec", name, "ps").stdout)
