"""``--memory``, ``--cpus`` and the other limits hold, or ``run`` says why they cannot."""

from pathlib import Path

import pytest
from support.containers import IS_ROOT, complaint, inspected, state

pytestmark = pytest.mark.same_with_more_ids

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
    for flags in (("-m", "64m"), ("--pids-limit", "10"), ("--cpus", "0.5"), ("--cpuset-cpus", "0")):
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


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        (("-m", "64m"), {"memory.limit_in_bytes": "67108864", "memory.max": "67108864"}),
        (
            ("-m", "64m", "--memory-swap", "96m"),
            {"memory.memsw.limit_in_bytes": "100663296", "memory.swap.max": "33554432"},
        ),
        (("--memory-reservation", "32m"), {"memory.soft_limit_in_bytes": "33554432", "memory.low": "33554432"}),
        (("--cpus", "0.5"), {"cpu.cfs_quota_us": "50000", "cpu.max": "50000 100000"}),
        (("--cpu-period", "20000", "--cpu-quota", "5000"), {"cpu.cfs_quota_us": "5000", "cpu.max": "5000 20000"}),
        (("-c", "512"), {"cpu.shares": "512", "cpu.weight": "20"}),
        (("--cpuset-cpus", "0"), {"cpuset.cpus": "0"}),
        (("--cpuset-mems", "0"), {"cpuset.mems": "0"}),
        (("--pids-limit", "33"), {"pids.max": "33"}),
        (("--blkio-weight", "300"), {"blkio.weight": "300", "blkio.bfq.weight": "300", "io.bfq.weight": "default 300"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_limits_are_seen_inside(cli, limits, flags, files):
    script = f"cd /sys/fs/cgroup; for f in {' '.join(files)}; do cat $f */$f 2>/dev/null | sed s/^/$f=/; done; true"
    lines = cli("run", "--rm", *flags, "busybox", "sh", "-c", script, check=True).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert found
    assert found.items() <= files.items()


def test_a_container_without_limits_may_use_every_processor(cli):
    script = "grep Cpus_allowed_list /proc/self/status | cut -f2"
    assert cli("run", "--rm", "busybox", "sh", "-c", script).stdout == _allowed_processors()
    assert cli("run", "--rm", "--pids-limit", "-1", "-m", "0", "busybox", "echo", "free").stdout == "free\n"


def _allowed_processors() -> str:
    status = Path("/proc/self/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list")) + "\n"


def test_half_a_processor_takes_twice_as_long(cli, limits):
    script = (
        "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; awk '{print $14+$15}' /proc/self/stat; cat /proc/uptime"
    )
    flags = ("--cpus", "0.2", "--cpuset-cpus", "0")
    done = cli("run", "--rm", *flags, "busybox", "sh", "-c", f"cat /proc/uptime; {script}", check=True, timeout=90)
    before, ticks, after = (float(line.split()[0]) for line in done.stdout.splitlines())
    assert after - before >= ticks / 100 / 0.2 * 0.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("-m", "64m", "--memory-swap", "32m"),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (("--memory-swap", "64m"), "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (
            ("-m", "64m", "--memory-reservation", "128m"),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (("--cpus", "-1"), "Range of CPUs is from 0.01 to"),
        (
            ("--cpu-period", "10"),
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (("--cpuset-cpus", "x"), "Invalid value x for cpuset cpus: invalid format: x"),
        (("--cpuset-cpus", "999"), "Requested CPUs are not available - requested 999, available: 0"),
        (("--blkio-weight", "5"), "Range of blkio weight is from 10 to 1000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_limits_that_cannot_be_are_refused_in_dockers_words(cli, flags, message):
    assert complaint(cli("create", *flags, "busybox", "true"), 1).startswith(message)
