"""A hostile container waits for ``exec``: the engine's own process comes in, the host behind it, and gives nothing."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.attacks import program
from support.containers import complaint, inspected, is_alive
from support.waiting import wait_until

SECONDS = 20


@pytest.fixture
def running(cli, name) -> str:
    """A container that does nothing."""
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True)
    return name


STATUS = """
grep -E '^(Cap|Seccomp:|NoNewPrivs|SigIgn|SigBlk)' /proc/$0/status
for name in /proc/$0/ns/*; do readlink $name; done
ls /proc/self/fd
"""


def test_an_executed_process_has_no_more_than_the_first(cli, running):
    # CVE-2022-27649 and kin: inheritable capabilities, a missing filter, a descriptor, a namespace of the host's.
    first, own = (cli("exec", running, "sh", "-c", STATUS, pid, check=True).stdout for pid in ("1", "self"))
    assert own == first
    assert "CapInh:\t0000000000000000" in own
    assert "CapEff:\t00000000a80425fb" in own
    assert "Seccomp:\t2" in own
    assert own.split()[-4:] == ["0", "1", "2", "3"], "the fourth is the listing's own"


def test_an_executed_process_is_in_the_containers_control_groups(shared_store, running):
    pid = inspected(shared_store, running)["State"]["Pid"]
    seconds = f"{os.getpid()}1001"  # another run of these tests may sleep, too
    with shared_store.start("exec", running, "sleep", seconds) as client:
        try:
            other = wait_until(lambda: _sleeping(seconds))
            groups = [Path(f"/proc/{each}/cgroup").read_text() for each in (pid, other)]
        finally:
            client.kill()
    assert groups[0] == groups[1]


def _sleeping(seconds: str) -> int:
    """The process that is ``sleep SECONDS`` itself, whoever started it; 0 while there is none."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if file.read() == f"sleep\0{seconds}\0".encode():
                    return int(name)
        except OSError:
            continue
    return 0


def test_a_working_directory_that_is_a_descriptor_of_the_engines_is_refused(cli, running):
    # CVE-2024-21626, its second way in: exec.
    for number in (3, 5, 7, 8, 10):
        done = cli("exec", "-w", f"/proc/self/fd/{number}", running, "ls", "../../../..")
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1


def test_a_program_that_asks_for_the_engines_own_gets_nothing_of_it(cli, running):
    # CVE-2019-5736: the container replaces a program that will be executed, and waits.
    for first in ("#!/proc/self/exe", "#!/proc/self/fd/3", "#!/proc/1/exe -c"):
        lines = f'{first}\\nimport os; print(\\"the engine ran\\", os.listdir(\\"/\\"))\\n'
        cli("exec", running, "sh", "-c", f'printf "{lines}" > /trap; chmod 755 /trap', check=True)
        done = cli("exec", running, "/trap")
        assert done.returncode != 0
        assert "the engine ran" not in done.stdout


def test_the_engines_process_is_never_got_hold_of(shared_store, cli, python_image, name):
    command = ("run", "--rm", "-i", "--name", name, python_image, "python3", "-c", program("watch"))
    with shared_store.start(*command, stdin=subprocess.PIPE) as watcher:
        try:
            assert watcher.stdout.readline() == b"watching\n"
            for _ in range(4):
                cli("exec", name, "python3", "-S", "-c", "", check=True)
        finally:
            output, _ = watcher.communicate(b"", timeout=SECONDS)
    found = json.loads(output)
    assert found["got"] == {}
    assert found["seen"] >= 4


@pytest.fixture
def poisoned(cli, running) -> str:
    """A container with a program's worth of traps where the engine's Python would look for modules."""
    places = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *filter(os.path.isdir, sys.path)}
    names = sorted({*sys.stdlib_module_names, "msgspec", "kernel_sandbox", "sitecustomize"})
    trap = "open('/poisoned', 'a').write(__name__)"
    script = (
        f"for place in {' '.join(sorted(places))}; do mkdir -p $place; cd $place; "
        f'for name in {" ".join(names)}; do echo "{trap}" > $name.py; done; mkdir -p encodings; '
        f'echo "{trap}" > encodings/idna.py; echo "{trap}" > encodings/__init__.py; done'
    )
    cli("exec", running, "sh", "-c", script, check=True)
    return running


def test_no_module_of_the_containers_is_loaded_by_the_engine(cli, poisoned, tmp_path):
    # CVE-2019-14271: docker-tar had changed its root when the C library loaded more of itself.
    commands = (
        ("-t", poisoned, "true"),
        ("-u", "nobody", poisoned, "true"),
        ("-w", "/missing", poisoned, "true"),
        (poisoned, "missing"),
        (poisoned, "/etc"),
        (poisoned, "/etc/passwd"),
        ("-e", "PYTHONPATH=/", poisoned, "true"),
    )
    for command in commands:
        cli("exec", *command)
    cli("cp", f"{poisoned}:/etc", tmp_path, check=True)
    cli("cp", tmp_path, f"{poisoned}:/copied", check=True)
    cli("cp", f"{poisoned}:/missing", tmp_path)
    cli("commit", poisoned, "poisoned:test", check=True)
    cli("rmi", "-f", "poisoned:test", check=True)
    assert cli("exec", poisoned, "ls", "/poisoned").returncode == 1


PTMX = {
    "a file": "echo x > /dev/ptmx",
    "a fifo": "mkfifo /dev/ptmx",
    "a directory": "mkdir /dev/ptmx",
    "a link to zeros": "ln -s zero /dev/ptmx",
    "a link to standard input": "ln -s /proc/1/fd/0 /dev/ptmx",
}


def test_a_false_terminal_multiplexer_gives_no_terminal_and_hangs_nobody(cli, running):
    # CVE-2025-52565: what is a terminal is asked of the kernel, not of a name in the container.
    for what, replacement in PTMX.items():
        cli("exec", running, "sh", "-c", f"rm -rf /dev/ptmx; {replacement}", check=True)
        assert complaint(cli("exec", "-t", running, "tty", timeout=SECONDS), 126), what
    assert cli("exec", running, "echo", "goes on", check=True).stdout == "goes on\n"


def test_an_endless_writer_that_is_left_behind_does_not_keep_the_engine(cli, running):
    script = "for i in 1 2 3 4; do cat /dev/zero & done; sleep 0.2; exit 3"
    assert cli("exec", running, "sh", "-c", script, timeout=SECONDS, text=False).returncode == 3
    assert cli("exec", running, "echo", "goes on", check=True, timeout=SECONDS).stdout == "goes on\n"


def test_killing_everything_from_an_executed_process_ends_the_container_alone(cli, shared_store, running):
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as victim:
        try:
            cli("exec", running, "sh", "-c", "kill -9 -1; kill -9 1", timeout=SECONDS)
            assert is_alive(victim.pid)
        finally:
            victim.kill()
    assert inspected(shared_store, running)["State"]["Status"] in ("running", "exited")
