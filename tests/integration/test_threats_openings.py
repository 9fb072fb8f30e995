"""Options that open something open exactly what they say: one namespace, one device, the capabilities, and no more."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.attacks import DONE, outcomes, program
from support.containers import IS_ROOT, complaint, is_alive
from support.store import COMMAND
from support.tar_files import Entry, directory, link, tar_of
from support.terminal import terminal

NAMESPACES = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup")
SHARED = {
    "--network=host": "net",
    "--userns=host": "",
    "--privileged": "",
    "--cap-add=ALL": "",
    "--security-opt=seccomp=unconfined": "",
}
OF_THE_MACHINE = (
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "acct", "swapon",
    "open_by_handle_at", "clear the kernel log", "clock_settime", "settimeofday", "adjtimex", "clock_adjtime",
    "the audit log",
)  # fmt: skip


@pytest.fixture
def victim() -> Iterator[subprocess.Popen]:
    """A process of the caller's own."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("flag", SHARED)
def test_no_namespace_is_shared_that_was_not_asked_for(cli, flag):
    script = f"for name in {' '.join(NAMESPACES)}; do readlink /proc/self/ns/$name; done"
    inside = cli("run", "--rm", flag, "busybox", "sh", "-c", script, check=True).stdout.split()
    own = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
    equal = {name for name, one, other in zip(NAMESPACES, inside, own, strict=True) if one == other}
    assert equal == set(filter(None, (SHARED[flag],)))


@pytest.mark.parametrize("flags", [("--privileged",), ("--userns=host", "--cap-add=ALL")], ids=["privileged", "userns"])
def test_what_is_the_machines_stays_the_machines(shared_store, python_image, flags):
    themes = ("kernel_objects", "clocks", "sockets")
    flags = (*flags, "--security-opt", "seccomp=unconfined")
    answers = outcomes(shared_store, python_image, "kernel", *flags, arguments=themes)
    assert not [name for name in OF_THE_MACHINE if answers[name] == DONE]


def test_the_hosts_processes_are_seen_and_not_looked_into(shared_store, python_image, victim):
    words = (f"pid={victim.pid}", "abstract=nobody", "path=/nowhere", "shm=1")
    found = outcomes(shared_store, python_image, "host", "--pid", "host", arguments=words)
    assert found["its /proc"] == DONE
    assert found["signal 0"] == ("EPERM" if IS_ROOT else DONE), (
        "to a rootless container its user's processes are its own"
    )
    assert {found[name] for name in ("attach to it", "seize it", "read its memory", "compare with it")} == {"EPERM"}
    assert not IS_ROOT or is_alive(victim.pid)


def test_another_containers_processes_are_seen_and_no_others(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1234", check=True)
    listed = cli("run", "--rm", "--pid", f"container:{name}", "busybox", "ps", "-o", "args", check=True).stdout
    assert sorted(listed.split("\n")[1:]) == ["", "ps -o args", "sleep 1234"]


def test_a_device_is_given_and_no_other(cli):
    script = "ls /dev; head -c 2 /dev/mine | wc -c; mknod /dev/other c 1 5 || echo refused"
    done = cli("run", "--rm", "--device", "/dev/zero:/dev/mine", "busybox", "sh", "-c", script, check=True)
    plain = cli("run", "--rm", "busybox", "ls", "/dev", check=True)
    assert done.stdout.split() == [*sorted([*plain.stdout.split(), "mine"]), "2", "refused"]


SYSCTLS = ("kernel.core_pattern=|/x", "fs.file-max=1", "net/../kernel/panic=1")
SYSCTLS += ("kernel.msgmax/../panic=1", "user.max_user_namespaces=1")


def test_a_setting_of_the_whole_machine_is_refused(cli):
    for setting in SYSCTLS:
        done = cli("run", "--rm", "--sysctl", setting, "busybox", "true")
        assert done.returncode == 125
        assert "is not allowed" in done.stderr
    script = "cat /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward || echo refused"
    done = cli("run", "--rm", "--sysctl", "net.ipv4.ip_forward=1", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["1", "refused"]


PUSH = """
import fcntl, termios
for name in ("/dev/tty", "/dev/stdin", "/dev/console"):
    for character in b"pushed\\n":
        try:
            fcntl.ioctl(open(name), termios.TIOCSTI, bytes((character,)))
        except OSError:
            pass
print("tried")
"""


def test_a_terminal_of_its_own_is_not_the_callers(shared_store, python_image):
    # TIOCSTI into the container's terminal is the container's: the shell that comes after must not read it.
    run = f'{COMMAND} run --rm -it {python_image} python3 -c "$0"; read -t 1 line; echo "read: [$line]"; [ "$line" ]'
    with terminal(["bash", "-c", run, PUSH], env=shared_store.environ()) as window:
        assert window.ended() == 1, "there was nothing to read"
        assert "tried" in window.shown
        assert "read: []" in window.shown
        assert window.restored


@pytest.mark.parametrize("places", [("dev/console", "dev/ptmx"), ("dev/pts", "dev/tty")])
def test_a_link_where_the_terminal_is_shown_leads_nowhere(shared_store, cli, tmp_path, places):
    # CVE-2025-52565
    busybox = cli("run", "--rm", "busybox", "cat", "/bin/busybox", text=False, check=True).stdout
    (tmp_path / "file").write_text("the host's\n")
    links = (link(place, f"{tmp_path}/file") for place in places)
    entries = (Entry("bin/busybox", content=busybox, mode=0o755), directory("dev"), *links)
    cli("import", "-", "terminal:test", input=tar_of(entries), text=False, check=True)
    try:
        command = [COMMAND, "run", "--rm", "-t", "terminal:test", "/bin/busybox", "tty"]
        with terminal(command, env=shared_store.environ()) as window:
            assert window.ended() in (0, 125)
            assert "/dev/pts/" in window.shown or window.shown.count("\n") == 1
    finally:
        cli("rmi", "-f", "terminal:test")
    assert (tmp_path / "file").read_text() == "the host's\n"


@pytest.mark.parametrize("flags", [(), ("--userns=host",), ("--privileged",)], ids=["plain", "userns", "privileged"])
def test_the_program_that_starts_containers_is_not_changed_from_inside(shared_store, cli, python_image, name, flags):
    # CVE-2019-5736: with root's own ids inside, the interpreter's file would be the container's.
    before = Path(os.path.realpath(sys.executable)).stat()
    cli("create", "--name", name, *flags, python_image, "/attack", check=True)
    attack = tar_of([Entry("attack", content=program("overwrite"), mode=0o755)])
    cli("cp", "-", f"{name}:/", input=attack, text=False, check=True)
    done = cli("start", "-a", name)
    assert "changed" not in done.stdout or done.stdout.startswith("/memfd")
    assert Path(os.path.realpath(sys.executable)).stat().st_ctime_ns == before.st_ctime_ns


def test_shared_memory_is_a_shareable_containers_alone(cli, shared_store, name):
    # A link in the donor's /dev must not choose what of the host's is mounted in the other one.
    flags = ("-d", "--name", name, "--ipc", "none", "--cap-add", "SYS_ADMIN")
    cli("run", *flags, "busybox", "sh", "-c", "ln -s / /dev/shm; sleep 1000", check=True)
    done = cli("run", "--rm", "--ipc", f"container:{name}", "busybox", "ls", "/dev/shm")
    assert "non-shareable" in complaint(done, 125)
    cli("rm", "-f", name, check=True)
    script = "umount /dev/shm; rmdir /dev/shm; ln -s / /dev/shm; echo ready; sleep 1000"
    flags = ("-d", "--name", name, "--ipc", "shareable", "--cap-add", "SYS_ADMIN")
    cli("run", *flags, "busybox", "sh", "-c", script, check=True)
    done = cli("run", "--rm", "--ipc", f"container:{name}", "busybox", "ls", "/dev/shm/")
    assert not re.search(r"\b(boot|home|root|var)\b", done.stdout)
