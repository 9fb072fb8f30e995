"""``stats`` measures what containers use, ``top`` lists their processes."""

import json
import re
import signal
import time

import pytest
from support.containers import complaint, state
from support.waiting import wait_until

pytestmark = pytest.mark.same_without_root

HEADER = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS"
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def measured(cli, name, *flags):
    """The one line of JSON that ``stats`` gives for a container."""
    return json.loads(cli("stats", "--no-stream", "--format", "json", *flags, name, check=True).stdout)


def in_bytes(text):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()
    return float(number) * UNITS[unit]


@pytest.fixture
def running(cli, name):
    """A container of two processes, its first a shell."""
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 1000 & sleep 1001; true", check=True)
    wait_until(lambda: len(cli("top", name).stdout.splitlines()) == 4)
    return name


def test_a_busy_container_is_told_from_an_idle_one(cli, running, shared_store):
    other = f"{running}-busy"
    cli("run", "-d", "--name", other, "busybox", "sh", "-c", "while :; do :; done", check=True)
    try:
        idle, busy = (float(measured(cli, each)["CPUPerc"].rstrip("%")) for each in (running, other))
        assert idle < 5 < busy < 120
    finally:
        cli("rm", "-f", other)


def test_memory_is_what_the_container_holds_of_its_limit(cli, name):
    hold = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo up; sleep 1000; true"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", hold, check=True)
    wait_until(lambda: cli("logs", name).stdout)
    found = measured(cli, name)
    used, _, limit = found["MemUsage"].partition(" / ")
    assert 15e6 < in_bytes(used) < 200e6
    assert float(found["MemPerc"].rstrip("%")) == pytest.approx(in_bytes(used) / in_bytes(limit) * 100, abs=0.1)


def test_processes_are_counted_and_the_loopback_is_no_network(cli, running):
    found = measured(cli, running)
    assert (found["PIDs"], found["NetIO"]) == ("3", "0B / 0B")
    assert found["Name"] == found["Container"] == running


def test_the_table_has_docker_columns(cli, running):
    lines = cli("stats", "--no-stream", running, check=True).stdout.splitlines()
    assert lines[0].split() == HEADER.split()
    assert re.fullmatch(rf"[0-9a-f]{{12}} +{running} +\S+% +\S+ / \S+ +\S+% +0B / 0B +\S+ / \S+ +3", lines[1])
    chosen = cli("stats", "--no-stream", "--format", "table {{.Name}}\t{{.PIDs}}", running, check=True).stdout
    assert [line.split() for line in chosen.splitlines()] == [["NAME", "PIDS"], [running, "3"]]


def test_a_container_that_does_not_run_uses_nothing(cli, name):
    cli("create", "--name", name, "busybox", "true", check=True)
    found = measured(cli, name, "--no-trunc")
    assert found.pop("ID") == cli("inspect", "-f", "{{.Id}}", name).stdout.strip()
    assert found == {
        "BlockIO": "0B / 0B", "CPUPerc": "0.00%", "Container": name, "MemPerc": "0.00%", "MemUsage": "0B / 0B",
        "Name": name, "NetIO": "0B / 0B", "PIDs": "0",
    }  # fmt: skip
    assert name not in cli("stats", "--no-stream").stdout
    assert name in cli("stats", "--no-stream", "-a").stdout


def test_an_unknown_container_is_named(cli, running):
    assert complaint(cli("stats", "--no-stream", "nosuch", running), 1) == "No such container: nosuch"


def test_a_stream_goes_on_until_its_container_is_removed(cli, running, shared_store):
    watching = shared_store.start("stats", "--format", "{{.Name}}", running)
    for _ in range(2):
        assert watching.stdout.readline() == f"\033[H{running}\033[K\n".encode()
        assert watching.stdout.read(3) == b"\033[J"
    cli("rm", "-f", running)
    assert watching.wait(10) == 0
    watching.communicate()


def test_an_interrupt_ends_the_stream(shared_store, running):
    watching = shared_store.start("stats", running)
    assert watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130
    assert b"Traceback" not in watching.communicate()[1]


def test_top_lists_every_process_of_the_container_and_no_other(cli, running, shared_store):
    lines = cli("top", running, check=True).stdout.splitlines()
    assert lines[0] == "".join(title.ljust(20) for title in ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME")) + "CMD"
    commands = sorted(line.split(None, 7)[7] for line in lines[1:])
    assert commands == ["sh -c sleep 1000 & sleep 1001; true", "sleep 1000", "sleep 1001"]
    assert str(state(shared_store, running)["Pid"]) in {line.split()[1] for line in lines[1:]}


def test_top_lists_what_exec_has_started(cli, running, shared_store):
    inside = shared_store.start("exec", running, "sleep", "1002")
    try:
        wait_until(lambda: "sleep 1002" in cli("top", running).stdout)
    finally:
        inside.kill()
        inside.communicate()


def test_top_takes_the_options_of_ps(cli, running):
    lines = cli("top", running, "-o", "pid,args", check=True).stdout.splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    assert len(lines) == 4
    assert cli("top", running, "aux", check=True).stdout.split()[0] == "USER"
    threads = cli("top", running, "-m", "-o", "pid,lwp,comm", check=True).stdout.splitlines()
    assert [line.split()[0] for line in threads[1:]].count("-") == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "comm"), "Couldn't find PID field in ps output"),
        (("-o", "x=PID"), 'specifying "x=PID" is not allowed'),
        (("x", "y"), "ps: error: unsupported option (BSD syntax)"),
        (("-Q",), "ps: error: unsupported SysV option"),
    ],
)
def test_options_that_ps_refuses_are_refused_in_docker_words(cli, running, options, words):
    assert complaint(cli("top", running, *options), 1) == words


def test_top_of_a_container_that_does_not_run_is_refused(cli, name):
    cli("create", "--name", name, "busybox", "true", check=True)
    id_ = cli("inspect", "-f", "{{.Id}}", name).stdout.strip()
    assert complaint(cli("top", name), 1) == f"Container {id_} is not running"
    assert complaint(cli("top", "nosuch"), 1) == "No such container: nosuch"


def test_top_says_what_is_missing_without_ps(shared_store, running, tmp_path):
    done = shared_store.cli("top", running, env={"PATH": str(tmp_path)})
    assert complaint(done, 1) == "this machine has no ps, which lists the processes: install procps"


def test_a_crowd_of_processes_is_measured_soon(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "for i in $(seq 100); do sleep 99 & done; wait", check=True)
    wait_until(lambda: len(cli("top", name).stdout.splitlines()) == 102)
    start = time.monotonic()
    assert measured(cli, name)["PIDs"] == "101"
    assert time.monotonic() - start < 15
