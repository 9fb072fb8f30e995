"""What of the host is in reach from inside: processes, sockets, memory, descriptors, the caller's terminal."""

import ctypes
import os
import pty
import socket
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.attacks import DONE, outcomes
from support.containers import IS_ROOT, inspected, is_alive
from support.store import COMMAND

pytestmark = pytest.mark.same_without_root

IPC_CREAT, IPC_RMID = 0o1000, 0
SECRET = "KS_THREAT_SECRET"


@pytest.fixture(scope="module")
def victim() -> Iterator[subprocess.Popen]:
    """A process of the caller's own, in a group of its own."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def abstract() -> Iterator[str]:
    """The name of an abstract socket (unix(7)) on which somebody listens."""
    name = f"ks-threat-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield name


@pytest.fixture(scope="module")
def path_socket(tmp_path_factory) -> Iterator[str]:
    """A socket of the host's in a directory."""
    path = str(tmp_path_factory.mktemp("s") / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        yield path


@pytest.fixture(scope="module")
def shared_memory() -> Iterator[int]:
    """The key of a System V segment that anybody may use (shmget(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x6B730000 | os.getpid() & 0xFFFF
    number = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    assert number >= 0
    yield key
    libc.shmctl(number, IPC_RMID, None)


@pytest.fixture(scope="module", params=["none", "host"])
def found(request, shared_store, python_image, victim, abstract, path_socket, shared_memory) -> dict:
    """What a container gets of them; with ``--network host`` too, which opens the network alone."""
    words = (f"pid={victim.pid}", f"abstract={abstract}", f"path={path_socket}", f"shm={shared_memory}")
    answers = outcomes(shared_store, python_image, "host", "--network", request.param, arguments=words)
    return {**answers, "network": request.param}


def test_a_process_of_the_hosts_is_not_there(found, victim):
    attempts = ("signal 0", "signal 9", "signal its group", "a descriptor of it", "attach to it", "seize it")
    attempts += ("read its memory", "compare with it", "its limits", "its priority", "its scheduler", "its /proc")
    assert {found[name] for name in attempts} <= {"ESRCH", "ENOENT", "EPERM"}
    assert is_alive(victim.pid)


def test_only_the_containers_own_processes_are_listed(found):
    assert found["every process"] == [1]
    assert found["parent"] == 0, "the monitor is nobody's parent in there"


def test_an_abstract_socket_of_the_hosts_is_met_only_in_the_hosts_network(found):
    # CVE-2020-15257: containerd listened on one, and containers with --network host could ask it for anything.
    assert found["an abstract socket"] == (DONE if found["network"] == "host" else "ECONNREFUSED")


def test_a_socket_in_a_directory_of_the_hosts_is_not_met(found):
    assert found["a socket in a directory"] == "ENOENT"


def test_shared_memory_of_the_hosts_is_not_there(found):
    assert found["shared memory"] == "ENOENT"


def test_no_descriptor_but_the_standard_streams_is_open(found):
    opened = {name: target for name, target in found.items() if name.startswith("descriptor")}
    assert set(opened) == {"descriptor 0", "descriptor 1", "descriptor 2"}
    assert set(opened.values()) == {"pipe"}


def test_killing_everything_kills_the_container_alone(cli, victim):
    script = "trap '' TERM; kill -9 -1; kill -TERM -1; kill -9 -- -1; echo done"
    assert cli("run", "--rm", "busybox", "sh", "-c", script).returncode in (0, 137)
    assert is_alive(victim.pid)


def test_what_the_caller_has_open_does_not_come_along(shared_store, tmp_path):
    # CVE-2016-9962, CVE-2024-21626: one descriptor of a directory of the host's is the whole host.
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/proc", str(secret)) for _ in range(20)]
    try:
        command = [COMMAND, "run", "--rm", "busybox", "ls", "/proc/self/fd"]
        options = {"pass_fds": opened, "env": shared_store.environ(), "capture_output": True, "text": True}
        listed = subprocess.run(command, timeout=30, check=True, **options).stdout
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert listed.split() == ["0", "1", "2", "3"], "the fourth is the listing's own"


def test_nothing_of_the_callers_environment_is_inside(cli):
    script = "cat /proc/[0-9]*/environ; env"
    done = cli("run", "--rm", "busybox", "sh", "-c", script, env={SECRET: "x"}, check=True)
    assert SECRET not in done.stdout


def test_the_callers_terminal_gets_no_input_from_inside(shared_store, python_image):
    # TIOCSTI (CVE-2016-2568 and kin): a character pushed back is what the caller's shell reads next.
    attack = (
        "import fcntl, os, termios\n"
        "for name in ('/dev/tty', '/dev/stdin', '/dev/stdout', '/dev/stderr', '/dev/console', '/dev/pts/0'):\n"
        "    for flags in (os.O_RDWR, os.O_WRONLY | os.O_NOCTTY):\n"
        "        try:\n"
        "            fcntl.ioctl(os.open(name, flags), termios.TIOCSTI, b'!')\n"
        "            print('pushed through', name)\n"
        "        except OSError:\n"
        "            pass\n"
        "print('tried')\n"
    )
    ours, theirs = pty.openpty()
    # Without line editing and echo, what was pushed back could be read at once.
    settings = termios.tcgetattr(theirs)
    settings[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    script = f'exec setsid -c {COMMAND} run --rm {python_image} python3 -c "$0"'
    try:
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        subprocess.run(["sh", "-c", script, attack], env=shared_store.environ(), timeout=30, **streams)
        assert os.read(ours, 4096).replace(b"\r\n", b"\n") == b"tried\n"
        os.set_blocking(theirs, False)
        with pytest.raises(BlockingIOError):
            os.read(theirs, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_container_is_no_root_of_the_hosts_whatever_it_is_given(cli, shared_store, name):
    flags = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "-u", "0")
    cli("run", "-d", "--name", name, *flags, "busybox", "sleep", "100", check=True)
    pid = inspected(shared_store, name)["State"]["Pid"]
    status = dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert "0" not in status["Uid"].split() + status["Gid"].split()
    assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")


@pytest.fixture
def mischief(tmp_path, shared_store) -> Iterator[Path]:
    """A volume that a container may write, with a program in it that runs as its owner, the container's root."""
    tmp_path.chmod(0o777)
    script = "cp /bin/busybox /volume/busybox && chown 0:0 /volume/busybox && chmod 4755 /volume/busybox"
    shared_store.cli("run", "--rm", "-v", f"{tmp_path}:/volume", "busybox", "sh", "-c", script, check=True)
    yield tmp_path
    (tmp_path / "busybox").unlink()


def test_a_setuid_program_of_a_volume_makes_nobody_more_than_the_containers_root(shared_store, mischief):
    script = "/volume/busybox id -u; grep -E '^(Uid|CapBnd|CapEff)' /proc/self/status; cat /proc/self/uid_map"
    command = ("run", "--rm", "-u", "0", "-v", f"{mischief}:/volume", "busybox", "sh", "-c", script)
    told = shared_store.cli(*command, check=True).stdout
    assert told.splitlines()[-1].split()[1] != "0", "root inside is not the host's"
    assert "00000000a80425fb" in told


def test_no_new_privileges_makes_a_setuid_program_an_ordinary_one(shared_store, mischief):
    flags = ("-u", "65534", "--security-opt", "no-new-privileges")
    done = shared_store.cli(
        "run", "--rm", *flags, "-v", f"{mischief}:/volume", "busybox", "/volume/busybox", "id", "-u"
    )
    if done.returncode == 125:
        pytest.skip("a caller with a single id has no other user inside")
    assert done.stdout == "65534\n"


@pytest.mark.skipif(not IS_ROOT, reason="another user of the machine is needed")
def test_a_setuid_program_that_a_container_makes_is_run_by_nobody_else(shared_store, cli, name):
    cli("run", "--name", name, "busybox", "sh", "-c", "cp /bin/busybox /suid && chmod 4755 /suid", check=True)
    programs = [path for path in shared_store.home.rglob("suid") if path.is_file()]
    assert programs
    for path in programs:
        with pytest.raises(PermissionError):
            subprocess.run([path, "id"], user=65534, group=65534, extra_groups=[], cwd="/")
