"""``exec``: one more process in a running container, with its own streams, user, directory and end."""

import os
import pty
import signal

import pytest
from support.containers import complaint, ids_inside, state
from support.waiting import wait_until


@pytest.fixture
def running(cli, name) -> str:
    """A container that runs until the test ends."""
    cli("run", "-d", "--name", name, "-e", "A=1", "-w", "/tmp", "busybox", "sleep", "1000", check=True)
    return name


def test_it_runs_where_the_container_runs(cli, running):
    done = cli(
        "exec",
        running,
        "sh",
        "-c",
        "readlink /proc/self/ns/pid; readlink /proc/1/ns/pid; pwd; echo $A; hostname; ps",
        check=True,
    )
    first, second, directory, variable, host, *processes = done.stdout.splitlines()
    assert first == second
    assert (directory, variable) == ("/tmp", "1")
    assert host == state_id(cli, running)
    assert any("sleep 1000" in line for line in processes)


def state_id(cli, name: str) -> str:
    return cli("inspect", "-f", "{{.Id}}", name, check=True).stdout[:12]


def test_its_status_streams_and_input_are_its_own(cli, running):
    done = cli("exec", "-i", running, "sh", "-c", "cat; echo err >&2; exit 7", input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")
    assert cli("exec", running, "cat", input="unread").stdout == "", "without -i nothing is passed on"
    assert cli("exec", running, "sh", "-c", "kill -9 $$").returncode == 137
    assert cli("logs", running).stdout == "", "the log is the first process's"


def test_binary_output_arrives_whole(shared_store, running):
    done = shared_store.cli("exec", running, "dd", "if=/dev/zero", "bs=1M", "count=50", text=False)
    assert len(done.stdout) == 50 << 20


@pytest.mark.parametrize("command", ["missing", "/missing", "/etc", "/etc/passwd"])
def test_what_cannot_be_invoked_ends_with_126(cli, running, command):
    assert command in complaint(cli("exec", running, command), 126)


def test_user_directory_and_environment_are_chosen(cli, running):
    done = cli("exec", "-w", "/etc", "-e", "B=2", running, "sh", "-c", "pwd; echo $A$B$HOME", check=True)
    assert done.stdout == "/etc\n12/root\n"
    assert "relative" in complaint(cli("exec", "-w", "relative", running, "true"), 126)
    assert "no matching entries" in complaint(cli("exec", "-u", "nosuch", running, "true"), 126)


def test_another_user_has_no_capabilities(cli, shared_store, running):
    if ids_inside(shared_store) == 1:
        assert "does not exist" in complaint(cli("exec", "-u", "1000", running, "id"), 126)
        return
    done = cli(
        "exec", "-u", "1000:1000", running, "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status", check=True
    )
    assert done.stdout.split() == ["1000", "1000", "CapEff:", "0" * 16]


def test_it_is_confined_as_the_container_is(cli, running):
    script = "grep -E '^(CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status; ls /proc/self/fd"
    inside = cli("exec", running, "sh", "-c", script, check=True).stdout
    first = cli(
        "exec", running, "sh", "-c", "grep -E '^(CapBnd|NoNewPrivs|Seccomp:)' /proc/1/status", check=True
    ).stdout
    assert inside.startswith(first)
    assert inside.removeprefix(first).split() == ["0", "1", "2", "3"], "nothing of the engine's is open"
    privileged = cli("exec", "--privileged", running, "grep", "CapEff", "/proc/self/status", check=True).stdout
    assert int(privileged.split()[1], 16) > int("a80425fb", 16)


def test_a_terminal_belongs_to_the_containers_devpts(cli, running):
    done = cli("exec", "-t", running, "sh", "-c", "tty; echo $TERM; echo err >&2", check=True, text=False)
    assert done.stdout == b"/dev/pts/0\r\nxterm\r\nerr\r\n"
    assert done.stderr == b""


def test_detached_it_goes_on_alone(cli, running):
    assert cli("exec", "-d", running, "sh", "-c", "sleep 0.2; echo done > /tmp/out; sleep 500", check=True).stdout == ""
    wait_until(lambda: cli("exec", running, "cat", "/tmp/out").stdout == "done\n")
    assert "sleep 500" in cli("exec", running, "ps").stdout


def test_it_ends_with_the_container(cli, shared_store, running):
    process = shared_store.start("exec", running, "sh", "-c", "echo ready; sleep 1000")
    assert process.stdout.readline() == b"ready\n"
    cli("kill", running, check=True)
    assert process.wait(10) == 137
    process.stdout.close()
    process.stderr.close()


def test_a_client_that_goes_away_does_not_end_it(cli, shared_store, running):
    process = shared_store.start("exec", running, "sh", "-c", "echo ready; yes")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    process.stderr.close()
    wait_until(lambda: "yes" in cli("exec", running, "ps").stdout)
    assert state(shared_store, running)["Running"]


def test_a_slow_reader_holds_neither_container_nor_others_up(cli, shared_store, running):
    slow = shared_store.start("exec", running, "yes")
    try:
        assert slow.stdout.read(2) == b"y\n"
        for _ in range(3):
            assert cli("exec", running, "echo", "hi", timeout=10).stdout == "hi\n"
    finally:
        slow.kill()
        slow.wait(10)
        slow.stdout.close()
        slow.stderr.close()


def test_only_a_running_container_can(cli, name):
    cli("create", "--name", name, "busybox", "sleep", "1000", check=True)
    assert "is not running" in complaint(cli("exec", name, "true"), 1)
    assert "No such container: nosuch" in complaint(cli("exec", "nosuch", "true"), 1)
    cli("start", name, check=True)
    cli("pause", name, check=True)
    message = complaint(cli("exec", name, "true"), 1)
    assert message == f"Container {name} is paused, unpause the container before exec"
    cli("unpause", name, check=True)
    assert cli("exec", name, "true").returncode == 0


def test_twenty_at_once(shared_store, running):
    scripts = [f"echo {number}; exit {number}" for number in range(20)]
    processes = [shared_store.start("exec", running, "sh", "-c", script) for script in scripts]
    for number, process in enumerate(processes):
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, output) == (number, f"{number}\n".encode())


def test_from_a_terminal_keys_reach_the_process(shared_store, running):
    """``exec -it`` on a real terminal: its size, an interrupt from the keyboard, its end."""
    controller, terminal = pty.openpty()
    process = shared_store.start(
        "exec", "-it", running, "sh", "-c", "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.1; done",
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    try:
        seen = b""
        while b"ready" not in seen:
            seen += os.read(controller, 100)
        os.write(controller, b"\x03")
        while b"got" not in seen:
            seen += os.read(controller, 100)
        assert process.wait(10) == 9
    finally:
        process.kill()
        process.wait(10)
        os.close(controller)
