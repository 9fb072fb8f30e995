"""A container's life: created, started, listed, signalled, stopped, waited for, removed."""

import json
import re
import time

from support.containers import complaint, inspected, state
from support.waiting import wait_until

SLEEP = ("busybox", "sleep", "100")


def row(cli, name: str, *flags: str) -> str:
    """The container's line in ``ps``, or nothing."""
    return next((line for line in cli("ps", *flags).stdout.splitlines() if line.endswith(name)), "")


def test_a_detached_container_goes_on_until_it_is_stopped(cli, shared_store, name):
    id_ = cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo started; exec sleep 100", check=True).stdout
    assert id_ == f"{inspected(shared_store, name)['Id']}\n"
    assert "Up " in row(cli, name)
    wait_until(lambda: cli("logs", name).stdout == "started\n")
    assert cli("kill", "-s", "KILL", name, check=True).stdout == f"{name}\n"
    assert cli("wait", name, check=True).stdout == "137\n"
    assert not row(cli, name)
    assert "Exited (137)" in row(cli, name, "-a")
    assert cli("rm", name, check=True).stdout == f"{name}\n"
    assert not row(cli, name, "-a")


def test_a_detached_containers_output_does_not_hold_the_caller(shared_store, name):
    started = time.monotonic()
    done = shared_store.cli("run", "-d", "--rm", "--name", name, "busybox", "sh", "-c", "sleep 60; echo late")
    assert done.returncode == 0
    assert time.monotonic() - started < 30
    shared_store.cli("rm", "-f", name, check=True)


def test_stop_sends_the_stop_signal_first(cli, shared_store, name):
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: "ready" in cli("logs", name).stdout)
    cli("stop", name, check=True)
    assert cli("logs", name).stdout == "ready\nbye\n"
    assert state(shared_store, name)["ExitCode"] == 3


def test_stop_kills_what_does_not_end_in_time(cli, shared_store, name):
    cli("run", "-d", "--name", name, *SLEEP, check=True)
    started = time.monotonic()
    cli("stop", "-t", "1", name, check=True)
    assert 0.9 < time.monotonic() - started < 9
    assert state(shared_store, name)["ExitCode"] == 137
    assert cli("stop", name).returncode == 0, "stopping again is no error"


def test_a_taken_name_is_refused_in_dockers_words(cli, shared_store, name):
    cli("create", "--name", name, "busybox", check=True)
    id_ = inspected(shared_store, name)["Id"]
    message = complaint(cli("run", "--name", name, "busybox"), 125)
    assert f'The container name "/{name}" is already in use by container "{id_}"' in message


def test_run_with_rm_leaves_nothing(cli, shared_store, name):
    before = sorted((shared_store.home / "containers").iterdir())
    assert cli("run", "--rm", "--name", name, "busybox", "touch", "/x").returncode == 0
    assert cli("run", "--rm", "--name", name, "busybox", "false").returncode == 1
    assert cli("run", "--rm", "--name", name, "busybox", "no-such-command").returncode == 127
    assert not row(cli, name, "-a")
    assert sorted((shared_store.home / "containers").iterdir()) == before


def test_a_running_container_is_removed_by_force_alone(cli, name):
    cli("run", "-d", "--name", name, *SLEEP, check=True)
    assert "running" in complaint(cli("rm", name), 1)
    assert "Up " in row(cli, name)
    cli("rm", "-f", name, check=True)
    assert complaint(cli("rm", name), 1)


def test_a_stopped_container_starts_again_with_what_it_wrote(cli, name):
    script = "echo x >> /count; wc -l < /count"
    cli("run", "--name", name, "busybox", "sh", "-c", script, check=True)
    assert cli("start", "-a", name, check=True).stdout.split() == ["2"]
    assert cli("start", name, check=True).stdout == f"{name}\n"
    cli("wait", name, check=True)
    assert cli("logs", name).stdout.split() == ["1", "2", "3"]


def test_logs_keep_the_streams_apart_and_can_be_followed(cli, shared_store, name):
    script = "echo out; echo err >&2; sleep 1; echo end"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    followed = cli("logs", "-f", name, check=True)
    assert (followed.stdout, followed.stderr) == ("out\nend\n", "err\n")
    again = cli("logs", name, check=True)
    assert (again.stdout, again.stderr) == ("out\nend\n", "err\n")


def test_a_container_answers_to_its_id_and_the_start_of_it(cli, shared_store, name):
    id_ = cli("create", "--name", name, "busybox", check=True).stdout.strip()
    for key in (id_, id_[:12], id_[:7], name):
        assert inspected(shared_store, key)["Id"] == id_


def test_a_signal_is_passed_by_name_or_number(cli, name):
    script = "trap 'echo one' USR1; trap 'exit 0' USR2; echo ready; while :; do sleep 0.1; done"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    wait_until(lambda: "ready" in cli("logs", name).stdout)
    cli("kill", "--signal=SIGUSR1", name, check=True)
    wait_until(lambda: "one" in cli("logs", name).stdout)
    assert complaint(cli("kill", "-s", "NOSUCH", name), 1)
    cli("kill", "-s", "12", name, check=True)
    assert cli("wait", name, check=True).stdout == "0\n"
    assert "not running" in complaint(cli("kill", name), 1)


def test_inspect_tells_a_containers_state(cli, shared_store, name):
    cli("run", "-d", "--name", name, "-e", "A=1", *SLEEP, check=True)
    running = inspected(shared_store, name)
    assert running["Name"] == f"/{name}"
    assert (running["Path"], running["Args"]) == ("sleep", ["100"])
    assert running["State"]["Status"] == "running" and running["State"]["Pid"] > 1
    assert "A=1" in running["Config"]["Env"]
    cli("rm", "-f", name, check=True)


def test_inspect_of_the_unknown_is_an_empty_array_and_an_error(cli):
    done = cli("inspect", "no-such-object")
    assert json.loads(done.stdout) == []
    assert complaint(done, 1) == "No such object: no-such-object"


def test_inspect_of_several_shows_those_that_exist(cli, name):
    cli("create", "--name", name, "busybox", check=True)
    done = cli("inspect", name, "no-such-object", "busybox")
    assert len(json.loads(done.stdout)) == 2
    assert complaint(done, 1)


def test_ps_shows_dockers_columns(cli, name):
    cli("create", "--name", name, "busybox", "sh", "-c", "echo a long command line", check=True)
    header = cli("ps", "-a").stdout.splitlines()[0]
    assert re.split("  +", header) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    cells = re.split("  +", row(cli, name, "-a"))
    assert cells[1:3] == ["busybox", '"sh -c \'echo a long …"']
    assert "Created" in cells
    assert re.fullmatch("[0-9a-f]{12}", cells[0])
    assert cells[0] in cli("ps", "-aq").stdout.split()
    assert "sh -c 'echo a long command line'" in row(cli, name, "-a", "--no-trunc")
