"""Many at once on one store: all come out right, and nothing is left."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.containers import state
from support.store import COMMAND

pytestmark = pytest.mark.same_without_root

BATCH = """
import subprocess, sys
command, first = sys.argv[1], int(sys.argv[2])
children = [
    subprocess.Popen([command, "run", "--rm", "busybox", "sh", "-c", f"echo {n} > /x; cat /x; exit {n}"],
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for n in range(first, first + 5)
]
for n, child in enumerate(children, first):
    output = child.communicate(timeout=90)[0]
    print(n, child.returncode, output.strip(), flush=True)
"""

THREADS = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from kernel_sandbox.engine import Engine
from kernel_sandbox.spec.options import ContainerOptions

with Engine.open() as engine, ThreadPoolExecutor(8) as pool:
    def run(n):
        command = ("sh", "-c", f"echo {n}; echo e{n} >&2; exit {n}")
        options = ContainerOptions(image="busybox", command=command, remove=True)
        ending, out, err = engine.containers.run(options)
        return ending.exit_code, out.decode().strip(), err.decode().strip()
    print(json.dumps(list(pool.map(run, range(16)))))
    print(json.dumps(len(engine.containers.list(all_=True))))
"""


def at_once(*calls):
    """The results of calls that begin together."""
    barrier = threading.Barrier(len(calls))

    def one(call):
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(90) for future in [pool.submit(one, call) for call in calls]]


def settled(*done) -> None:
    """Each has succeeded, or has said in one clear line why not."""
    for each in done:
        assert "Traceback" not in each.stderr
        assert len(each.stderr.splitlines()) <= 1
        assert not each.stderr or each.stderr.startswith("kernel-sandbox: ")


def test_twenty_containers_from_four_processes(shared_store):
    before = shared_store.cli("ps", "-aq").stdout
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BATCH, COMMAND, str(first)],
            env=shared_store.environ(), stdout=subprocess.PIPE, text=True,
        )
        for first in range(0, 20, 5)
    ]  # fmt: skip
    lines = [line for process in processes for line in process.communicate(timeout=100)[0].splitlines()]
    assert sorted(lines) == sorted(f"{n} {n} {n}" for n in range(20))
    assert shared_store.cli("ps", "-aq").stdout == before


def test_threads_of_one_process_run_containers_at_once(shared_store):
    done = subprocess.run(
        [sys.executable, "-c", THREADS], env=shared_store.environ(), capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    results, _ = map(json.loads, done.stdout.splitlines())
    assert results == [[n, str(n), f"e{n}"] for n in range(16)]


def test_two_removals_of_one_container(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    done = at_once(lambda: cli("rm", "-f", name), lambda: cli("rm", "-f", name))
    settled(*done)
    assert any(each.returncode == 0 for each in done)
    assert name not in cli("ps", "-a").stdout


def test_a_start_and_a_removal(cli, name):
    cli("create", "--name", name, "busybox", "sleep", "100", check=True)
    settled(*at_once(lambda: cli("start", name), lambda: cli("rm", "-f", name)))
    cli("rm", "-f", name)
    assert name not in cli("ps", "-a").stdout


def test_two_starts_of_one_container(cli, shared_store, name):
    cli("create", "--name", name, "busybox", "sleep", "100", check=True)
    settled(*at_once(lambda: cli("start", name), lambda: cli("start", name)))
    assert state(shared_store, name)["Running"] is True
    cli("rm", "-f", name, check=True)


def test_a_commit_and_a_removal(cli, name):
    cli("run", "--name", name, "busybox", "sh", "-c", "echo x > /x", check=True)
    committed, removed = at_once(lambda: cli("commit", name, f"{name}:new"), lambda: cli("rm", "-f", name))
    settled(committed, removed)
    assert removed.returncode == 0 or committed.returncode == 0
    if committed.returncode == 0:
        assert cli("run", "--rm", f"{name}:new", "cat", "/x").stdout == "x\n"
        cli("rmi", "-f", f"{name}:new", check=True)


def test_one_name_wanted_by_four(cli, name):
    done = at_once(*[lambda: cli("create", "--name", name, "busybox")] * 4)
    settled(*done)
    assert sorted(each.returncode for each in done) == [0, 1, 1, 1]


def test_an_image_removed_while_it_is_run(cli, shared_store, name):
    cli("tag", "busybox", f"{name}:v", check=True)
    cli("run", "--name", name, "busybox", "touch", "/x", check=True)
    cli("commit", name, f"{name}:v", check=True)
    cli("rm", name, check=True)
    ran, removed = at_once(
        lambda: cli("run", "--pull", "never", "--rm", f"{name}:v", "ls", "/x"), lambda: cli("rmi", "-f", f"{name}:v")
    )
    settled(ran, removed)
    assert ran.stdout == "/x\n" if ran.returncode == 0 else ran.returncode == 125
    cli("rmi", "-f", f"{name}:v")
    assert f"{name}" not in cli("images").stdout
