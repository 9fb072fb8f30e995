"""Signals to a foreground client go to the container; a client that has had enough leaves."""

import os
import signal
import subprocess
from contextlib import suppress

import pytest
from support.waiting import wait_until

pytestmark = pytest.mark.same_without_root

READY = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def foreground(shared_store, name):
    """Start a shell script in the foreground and wait until it says ready."""
    started = []

    def start(script: str, *flags: str):
        arguments = ("run", "--name", name, *flags, "busybox", "sh", "-c", script)
        process = shared_store.start(*arguments, start_new_session=True)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_client_reaches_the_command(foreground, number):
    process = foreground(f"trap 'echo got it; exit 7' {number.name[3:]}; {READY}", "--rm")
    process.send_signal(number)
    output, errors = process.communicate(timeout=15)
    assert (process.returncode, output, errors) == (7, b"got it\n", b"")


def test_a_client_that_is_interrupted_again_and_again_leaves(foreground, shared_store, name):
    process = foreground(f"trap '' INT; {READY}")
    for _ in range(5):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            # Equal signals that are pending at once are one (signal(7)): let the client handle each.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
    assert process.wait(10) == 130
    assert b"Traceback" not in process.stderr.read()
    wait_until(lambda: name not in shared_store.cli("ps").stdout, timeout=10)


def test_a_terminals_interrupt_ends_an_ordinary_command(foreground):
    process = foreground(f"trap 'exit 130' INT; {READY}", "--rm")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 130


@pytest.mark.parametrize("command", [("wait",), ("stop", "-t", "60")], ids=" ".join)
def test_an_interrupted_command_that_waits_ends_at_once(shared_store, name, command):
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    shared_store.cli("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    process = shared_store.start(*command, name)
    wait_until(lambda: has_connected(process.pid))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.strip()) == (130, b"")
    assert name in shared_store.cli("ps").stdout


def has_connected(pid: int) -> bool:
    """Whether the process sleeps with a socket open."""
    with open(f"/proc/{pid}/stat") as file:
        sleeps = file.read().rpartition(")")[2].split()[0] == "S"
    with suppress(FileNotFoundError):
        links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        return sleeps and any(link.startswith("socket:") for link in links)
    return False


def test_input_that_nobody_reads_holds_up_neither_output_nor_signals(shared_store):
    script = "trap 'exit 3' INT; while :; do echo tick; sleep 0.05; done"
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        process = shared_store.start("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin=endless.stdout)
        endless.stdout.close()
        for _ in range(20):
            assert process.stdout.readline() == b"tick\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (3, b"")
