"""Bombs, and the ways out of limits: what one container takes is not what the others and the host are left without."""

import os
import subprocess

import pytest
from support.attacks import DONE, outcomes
from support.containers import IS_ROOT
from support.waiting import wait_until

OPEN_FILES = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    sys.exit("it raised its own limit")
except (OSError, ValueError):
    pass
share = min(hard - 16, 100_000)
for _ in range(100_000 // share):
    if os.fork() == 0:
        for _ in range(share):
            os.open("/dev/null", os.O_RDONLY)
        print(share, flush=True)
        sys.stdin.readline()
        os._exit(0)
print("all", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def limits(shared_store) -> None:
    """Skip where this caller can keep no limit."""
    done = shared_store.cli("run", "--rm", "-m", "64m", "--pids-limit", "10", "busybox", "true")
    if done.returncode:
        if IS_ROOT:
            pytest.fail(done.stderr)
        pytest.skip(f"no limits for this user here: {done.stderr.strip()}")


def test_a_hundred_thousand_open_files_are_nobody_elses_lack(shared_store, cli, python_image, name):
    command = ("run", "--rm", "-i", "--name", name, python_image, "python3", "-c", OPEN_FILES)
    with shared_store.start(*command, stdin=subprocess.PIPE) as holder:
        try:
            opened = 0
            while opened < 90_000 and (line := holder.stdout.readline()):
                opened += int(line) if line.strip().isdigit() else 0
            assert opened >= 90_000
            assert cli("run", "--rm", "busybox", "echo", "others live").stdout == "others live\n"
            for _ in range(100):
                os.close(os.open("/etc/hostname", os.O_RDONLY))
        finally:
            holder.communicate(b"", timeout=30)
    assert holder.returncode == 0, "it could not raise its own limit"


def test_memory_of_its_own_filesystems_counts_too(cli, limits):
    # A tmpfs is memory: what is written to /dev/shm is taken from the same limit, or else it has no limit.
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo written"
    done = cli("run", "--rm", "-m", "20m", "busybox", "sh", "-c", script)
    assert done.returncode == 137 or "written" not in done.stdout or "Killed" in done.stderr


def test_a_filesystem_of_memory_has_a_size(cli):
    # /dev is the host's memory; without --memory only its size bounds it.
    script = (
        "for place in /dev /dev/shm; do dd if=/dev/zero of=$place/x bs=1M count=200 2> /dev/null && echo $place; done"
    )
    done = cli("run", "--rm", "busybox", "sh", "-c", f"{script}; true", check=True)
    assert done.stdout == ""


def test_a_fork_bomb_ends_with_its_container(cli, shared_store, name, limits):
    script = "bomb() { bomb | bomb & }; bomb"
    flags = ("--name", name, "--pids-limit", "50")
    cli("run", "-d", *flags, "busybox", "sh", "-c", f"{script} 2> /dev/null; sleep 100", check=True)
    assert cli("run", "--rm", "busybox", "echo", "others live").stdout == "others live\n"
    cli("rm", "-f", name, check=True, timeout=30)
    wait_until(lambda: name not in cli("ps", "-a", check=True).stdout)


@pytest.fixture(scope="module")
def groups(shared_store, python_image) -> dict:
    """What a container with every capability can do to control groups."""
    limit = ("--pids-limit", "100") if IS_ROOT else ()
    flags = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined", *limit)
    return outcomes(shared_store, python_image, "groups", *flags)


def test_release_agent_is_not_set_even_with_all_capabilities(groups):
    assert groups["mounted"], "the attempt must have got as far as a hierarchy"
    answers = {name: answer for name, answer in groups.items() if name.endswith("release_agent")}
    assert DONE not in answers.values()


def test_no_limit_is_lifted_and_no_group_is_left_from_inside(groups):
    assert not [name for name, answer in groups.items() if answer == DONE and "its own" not in name]
