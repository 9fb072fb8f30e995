"""`run -it`, `exec -it`, `attach` and `start -ai` as a user at a terminal has them."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from support.store import COMMAND, Store
from support.terminal import Terminal, terminal
from support.waiting import wait_until

pytestmark = pytest.mark.same_for_every_user

Opened = AbstractContextManager[Terminal]
CTRL_C, CTRL_D, CTRL_P, CTRL_Q, CTRL_Z = "\x03", "\x04", "\x10", "\x11", "\x1a"
READY = "echo ready; while :; do sleep 0.1; done"
ECHOING = "while read line; do echo got $line; [ $line = quit ] && exit 3; done"


@pytest.fixture
def on_terminal(shared_store: Store) -> Callable[..., Opened]:
    """``on_terminal("run", "-it", …)``: one of our commands on a terminal of its own."""

    def start(*arguments: str, size: tuple[int, int] = (24, 80)) -> Opened:
        return terminal((COMMAND, *arguments), size, shared_store.environ())

    return start


@pytest.fixture
def running(shared_store: Store, name: str) -> Iterator[str]:
    """The name of a container that runs in the background with a terminal and reads lines."""
    shared_store.cli("run", "-dit", "--name", name, "busybox", "sh", "-c", ECHOING, check=True)
    yield name


def is_running(store: Store, name: str) -> bool:
    return name in store.cli("ps", "--format", "{{.Names}}").stdout.split()


def test_the_command_has_a_terminal_of_the_windows_size(on_terminal: Callable[..., Opened]) -> None:
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", "tty; stty size", size=(33, 77)) as opened:
        assert opened.ended() == 0
        assert opened.shown == "/dev/pts/0\r\n33 77\r\n"


def test_exec_has_a_terminal_of_the_windows_size(on_terminal: Callable[..., Opened], running: str) -> None:
    with on_terminal("exec", "-it", running, "stty", "size", size=(40, 100)) as opened:
        assert opened.ended() == 0
        assert opened.shown == "40 100\r\n"


@pytest.mark.parametrize("command", ["run", "exec", "start", "attach"])
def test_the_terminal_follows_the_window(
    on_terminal: Callable[..., Opened], shared_store: Store, name: str, command: str
) -> None:
    script = f"trap 'stty size' WINCH; {READY}"
    words = {
        "run": ("run", "-it", "--name", name, "busybox", "sh", "-c", script),
        "exec": ("exec", "-it", name, "sh", "-c", script),
        "start": ("start", "-ai", name),
        "attach": ("attach", name),
    }[command]
    if command in ("exec", "start"):
        shared_store.cli("create", "-it", "--name", name, "busybox", "sh", "-c", script, check=True)
    if command == "exec":
        shared_store.cli("start", name, check=True)
    if command == "attach":
        shared_store.cli("run", "-dit", "--name", name, "busybox", "sh", "-c", script, check=True)
    with on_terminal(*words) as opened:
        opened.expect("24 80" if command == "attach" else "ready")
        opened.resize(50, 132)
        opened.expect("50 132\r\n")
        opened.resize(12, 34)
        opened.expect("12 34\r\n")


def test_every_key_reaches_the_command_as_it_is_typed(on_terminal: Callable[..., Opened]) -> None:
    script = "stty raw -echo; echo ready; head -c 10 | od -An -tx1"
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", script) as opened:
        opened.expect("ready")
        for key in ("\x1b", "[A", CTRL_C, CTRL_D, CTRL_Z, "\x7f", "\r", "é"):
            opened.type(key)
        opened.expect("1b 5b 41 03 04 1a 7f 0d c3 a9")
        assert opened.ended() == 0


def test_an_interrupt_is_typed_inside(on_terminal: Callable[..., Opened]) -> None:
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", f"trap 'exit 9' INT; {READY}") as opened:
        opened.expect("ready")
        opened.type(CTRL_C)
        assert opened.ended() == 9


def test_the_end_of_input_is_typed_inside(on_terminal: Callable[..., Opened]) -> None:
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", "echo ready; cat; exit 4") as opened:
        opened.expect("ready")
        opened.type("line\r")
        opened.expect("line\r\nline\r\n")
        opened.type(CTRL_D)
        assert opened.ended() == 4


def test_the_terminals_modes_are_as_before_afterwards(on_terminal: Callable[..., Opened]) -> None:
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", READY) as opened:
        opened.expect("ready")
        wait_until(lambda: opened.is_raw)
        opened.type(CTRL_C)
        opened.ended()
        assert opened.restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_ends_the_client_leaves_the_terminal_in_order(
    on_terminal: Callable[..., Opened], running: str, shared_store: Store, number: int
) -> None:
    with on_terminal("attach", running) as opened:
        wait_until(lambda: opened.is_raw)
        opened.send(number)
        assert opened.ended() == 128 + number
        assert opened.restored
    assert is_running(shared_store, running)


def test_a_signal_to_run_reaches_the_command(on_terminal: Callable[..., Opened]) -> None:
    with on_terminal("run", "-it", "--rm", "busybox", "sh", "-c", f"trap 'exit 8' TERM; {READY}") as opened:
        opened.expect("ready")
        opened.send(signal.SIGTERM)
        assert opened.ended() == 8


@pytest.mark.parametrize("apart", [True, False], ids=["key by key", "at once"])
def test_run_is_left_by_its_keys_and_goes_on(
    on_terminal: Callable[..., Opened], shared_store: Store, name: str, apart: bool
) -> None:
    with on_terminal(
        "run", "-it", "--name", name, "busybox", "sh", "-c", f"stty -echo; echo ready; {ECHOING}"
    ) as opened:
        opened.expect("ready\r\n")
        opened.type("one\r")
        opened.expect("got one\r\n")
        for keys in (CTRL_P, CTRL_Q) if apart else (CTRL_P + CTRL_Q,):
            opened.type(keys)
        assert opened.ended() == 0
        assert opened.shown.endswith("got one\r\n")
    assert is_running(shared_store, name)
    with on_terminal("attach", name) as opened:
        opened.type("two\rquit\r")
        opened.expect("got two\r\ngot quit\r\n")
        assert opened.ended() == 3


def test_start_is_left_by_its_keys_and_goes_on(
    on_terminal: Callable[..., Opened], shared_store: Store, name: str
) -> None:
    shared_store.cli("create", "-it", "--name", name, "busybox", "sh", "-c", ECHOING, check=True)
    with on_terminal("start", "-ai", name) as opened:
        opened.type("one\r")
        opened.expect("got one\r\n")
        opened.type(CTRL_P + CTRL_Q)
        assert opened.ended() == 0
    assert is_running(shared_store, name)


@pytest.mark.parametrize("words", [("attach",), ("exec", "-it")], ids=" ".join)
def test_attach_and_exec_say_that_they_were_left(
    on_terminal: Callable[..., Opened], shared_store: Store, running: str, words: tuple[str, ...]
) -> None:
    command = ("sh", "-c", ECHOING) if words[0] == "exec" else ()
    with on_terminal(*words, running, *command) as opened:
        opened.type("one\r")
        opened.expect("got one\r\n")
        opened.type(CTRL_P + CTRL_Q)
        assert opened.ended() == 1
        assert opened.shown.endswith("read escape sequence\r\n")
    assert is_running(shared_store, running)


def test_other_keys_can_be_chosen(on_terminal: Callable[..., Opened], shared_store: Store, name: str) -> None:
    flags = ("-it", "--name", name, "--detach-keys", "ctrl-a,d")
    with on_terminal(
        "run", *flags, "busybox", "sh", "-c", f"stty raw -echo; echo ready; head -c 4 | od -An -tx1; {READY}"
    ) as opened:
        opened.expect("ready")
        opened.type(CTRL_P + CTRL_Q + "\x01x")
        opened.expect("10 11 01 78")
        opened.type("\x01d")
        assert opened.ended() == 0
    assert is_running(shared_store, name)


@pytest.mark.parametrize(
    "words", [("run", "-it", "--rm", "busybox"), ("exec", "-it", "RUNNING"), ("attach", "RUNNING")]
)
def test_without_a_terminal_there_is_none_to_lend(shared_store: Store, running: str, words: tuple[str, ...]) -> None:
    words = tuple(running if word == "RUNNING" else word for word in words)
    command = () if words[0] == "attach" else ("true",)
    done = shared_store.cli(*words, *command)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "kernel-sandbox: the input device is not a TTY\n")


def test_a_terminal_without_input_needs_none(shared_store: Store) -> None:
    done = shared_store.cli("run", "-t", "--rm", "busybox", "sh", "-c", "tty; echo error >&2", check=True)
    assert done.stdout == "/dev/pts/0\nerror\n"


@pytest.mark.parametrize("words", [("run", "-it", "--rm", "busybox"), ("exec", "-it", "RUNNING")])
def test_nothing_is_lost_at_the_end(on_terminal: Callable[..., Opened], running: str, words: tuple[str, ...]) -> None:
    words = tuple(running if word == "RUNNING" else word for word in words)
    with on_terminal(*words, "sh", "-c", "seq 1 20000; exit 6") as opened:
        assert opened.ended(40) == 6
        assert opened.shown == "".join(f"{number}\r\n" for number in range(1, 20001))


@pytest.mark.parametrize("each_time", [":", "echo tick"], ids=["silent", "talking"])
def test_a_closed_window_ends_what_it_belongs_to(
    on_terminal: Callable[..., Opened], shared_store: Store, name: str, each_time: str
) -> None:
    script = f"trap '' HUP; echo ready; while :; do {each_time}; sleep 0.1; done"
    with on_terminal("run", "-it", "--name", name, "busybox", "sh", "-c", script) as opened:
        opened.expect("ready")
        opened.hang_up()
        assert opened.process.wait(10) == 128 + signal.SIGHUP
    wait_until(lambda: not is_running(shared_store, name))


def test_a_closed_window_leaves_alone_what_runs_in_the_background(
    on_terminal: Callable[..., Opened], shared_store: Store, running: str
) -> None:
    with on_terminal("attach", running) as opened:
        wait_until(lambda: opened.is_raw)
        opened.hang_up()
        assert opened.process.wait(10) != 0
    assert is_running(shared_store, running)


def test_in_the_background_it_waits_for_the_foreground(shared_store: Store, name: str) -> None:
    """A shell with job control, as a user types it: `… &`, then `fg`."""
    command = f"{COMMAND} run -it --name {name} busybox sh -c '{ECHOING}'"
    with terminal(("sh", "-i"), env=shared_store.environ({"PS1": "$ ", "ENV": "/dev/null"})) as opened:
        opened.type(f"{command} &\n")
        wait_until(lambda: is_running(shared_store, name), 20)
        wait_until(lambda: b"T" in subprocess.check_output(["ps", "-o", "stat=", "--ppid", str(opened.process.pid)]))
        assert not opened.is_raw
        opened.type("fg\n")
        wait_until(lambda: opened.is_raw)
        opened.type("quit\r")
        opened.expect("got quit\r\n$ ")
        opened.type("echo status $?\n")
        opened.expect("status 3\r\n")
        assert not opened.is_raw


def test_after_a_stop_the_terminal_is_raw_again(shared_store: Store, name: str) -> None:
    command = f"{COMMAND} run -it --name {name} busybox sh -c '{ECHOING}'"
    with terminal(("bash", "--norc", "-i"), env=shared_store.environ({"PS1": "$ "})) as opened:
        opened.type(f"{command}\n")
        wait_until(lambda: opened.is_raw and is_running(shared_store, name), 20)
        client = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(opened.process.pid)]).split()[0])
        os.kill(client, signal.SIGTSTP)
        opened.expect("Stopped")
        opened.type("fg\n")
        opened.expect("fg\r\n")
        opened.type("quit\r")
        opened.expect("got quit\r\n")
        opened.expect("$ ", after=opened.shown.index("got quit"))
        opened.type("echo status $?\n")
        opened.expect("status 3\r\n")
