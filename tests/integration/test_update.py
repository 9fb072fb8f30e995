"""``update`` changes limits and policies, at once where a container runs."""

import pytest
from support.containers import IS_ROOT, complaint, inspected

pytestmark = pytest.mark.same_with_more_ids

MEGABYTE = 1 << 20


@pytest.fixture
def running(cli, name) -> str:
    """A running container with limits, where this caller can have any."""
    flags = ("-m", "64m", "--memory-swap", "128m", "--pids-limit", "50")
    done = cli("run", "-d", "--name", name, *flags, "busybox", "sleep", "100")
    if done.returncode:
        if IS_ROOT:
            pytest.fail(done.stderr)
        pytest.skip(f"no limits for this user here: {done.stderr.strip()}")
    return name


def limit(cli, name: str, *files: str) -> str:
    """The first of these control-group files that the container has."""
    script = f"cat {' '.join(f'/sys/fs/cgroup/{file}' for file in files)} 2>/dev/null | head -1"
    return cli("exec", name, "sh", "-c", script, check=True).stdout.strip()


def test_a_running_container_has_the_new_limits_at_once(cli, shared_store, running):
    flags = ("-m", "100m", "--cpus", "0.5", "--pids-limit", "20", "--cpuset-cpus", "0", "--cpu-shares", "512")
    assert cli("update", *flags, running, check=True).stdout == f"{running}\n"
    assert limit(cli, running, "memory/memory.limit_in_bytes", "memory.max") == str(100 * MEGABYTE)
    assert limit(cli, running, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit(cli, running, "pids/pids.max", "pids.max") == "20"
    assert limit(cli, running, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"
    for process in ("1", "self"):
        allowed = cli("exec", running, "grep", "Cpus_allowed_list", f"/proc/{process}/status", check=True).stdout
        assert allowed.split() == ["Cpus_allowed_list:", "0"]
    config = inspected(shared_store, running)["HostConfig"]
    expected = {"Memory": 100 * MEGABYTE, "NanoCpus": 5 * 10**8, "PidsLimit": 20, "CpusetCpus": "0", "CpuShares": 512}
    assert {key: config[key] for key in expected} == expected


def test_memory_and_swap_grow_together(cli, running):
    cli("update", "-m", "300m", "--memory-swap", "600m", running, check=True)
    assert limit(cli, running, "memory/memory.limit_in_bytes", "memory.max") == str(300 * MEGABYTE)
    cli("update", "-m", "64m", running, check=True)
    assert limit(cli, running, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MEGABYTE)


def test_more_memory_than_memory_and_swap_is_refused(cli, shared_store, running):
    message = complaint(cli("update", "-m", "200m", running), 1)
    id_ = inspected(shared_store, running)["Id"]
    reason = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
    assert message == f"Cannot update container {id_}: {reason}"
    assert limit(cli, running, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MEGABYTE)


def test_a_limit_is_lifted(cli, running):
    cli("update", "--pids-limit", "-1", running, check=True)
    assert limit(cli, running, "pids/pids.max", "pids.max") == "max"


def test_a_container_that_does_not_run_has_the_new_policy_and_limits_later(cli, shared_store, name):
    cli("create", "--name", name, "busybox", "true", check=True)
    cli("update", "--restart", "on-failure:3", "--cpu-shares", "100", name, check=True)
    config = inspected(shared_store, name)["HostConfig"]
    assert config["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert config["CpuShares"] == 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "you must provide one or more flags when using this command"),
        (("-m", "1m"), "Minimum memory limit allowed is 6MB"),
        (("--cpus", "1000"), "Range of CPUs is from 0.01 to"),
        (("--cpuset-cpus", "999"), "Requested CPUs are not available - requested 999, available: 0"),
        (("--restart", "bogus"), "invalid restart policy 'bogus'"),
        (("--cpus", "1", "--cpu-quota", "5000"), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused(cli, name, flags, message):
    cli("create", "--name", name, "busybox", "true", check=True)
    assert complaint(cli("update", *flags, name), 1).startswith(message)


def test_unknown_containers_are_named_and_the_others_updated(cli, shared_store, name):
    cli("create", "--name", name, "busybox", "true", check=True)
    done = cli("update", "--restart", "always", "nosuch", name)
    assert (done.stdout, complaint(done, 1)) == (f"{name}\n", "No such container: nosuch")
    assert inspected(shared_store, name)["HostConfig"]["RestartPolicy"]["Name"] == "always"


def test_a_container_that_removes_itself_is_not_restarted(cli, name):
    cli("create", "--rm", "--name", name, "busybox", "true", check=True)
    message = complaint(cli("update", "--restart", "always", name), 1)
    assert "Restart policy cannot be updated because AutoRemove is enabled for the container" in message
