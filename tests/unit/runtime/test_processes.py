"""A container's processes are found by its pid namespace, wherever they came from."""

import os
import shutil
import subprocess

import pytest
from support.waiting import unavailable, wait_until

from kernel_sandbox.runtime.processes import pids


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


@pytest.fixture
def first():
    """The first process of a pid namespace, with a child and, in a namespace below, another with one."""
    if not shutil.which("unshare"):
        unavailable("util-linux is not installed")
    script = "sleep 1000 & unshare -pf sh -c 'sleep 1001 & wait' & wait"
    command = ["unshare", "-Urpf", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command) as outside:
        try:
            yield wait_until(lambda: children(outside.pid))[0]
        finally:
            outside.kill()


def test_all_in_the_namespace_and_below_are_found_and_no_other(first):
    wait_until(lambda: len(pids(first)) == 5)
    assert first in pids(first)
    assert os.getpid() not in pids(first)


def test_one_that_joined_from_outside_is_found(first):
    wait_until(lambda: len(pids(first)) == 5)
    command = ["nsenter", "-t", str(first), "-U", "--preserve-credentials", "-p", "sleep", "1002"]
    with subprocess.Popen(command) as joined:
        try:
            wait_until(lambda: set(children(joined.pid)) & set(pids(first)))
            assert joined.pid not in pids(first)
        finally:
            for pid in (*children(joined.pid), joined.pid):
                os.kill(pid, 9)


def test_without_a_namespace_of_its_own_a_process_has_its_descendants(first):
    with subprocess.Popen(["sh", "-c", "sleep 1000 & wait"]) as shell:
        try:
            wait_until(lambda: len(pids(shell.pid)) == 2)
            assert set(pids(shell.pid)) == {shell.pid, *children(shell.pid)}
        finally:
            for pid in (*children(shell.pid), shell.pid):
                os.kill(pid, 9)


def test_a_process_that_has_ended_has_none():
    with subprocess.Popen(["true"]) as process:
        pass
    assert pids(process.pid) == ()
