"""A person at a terminal, on a real Docker engine and on ours: the same keys give the same screen and exit status.

Only what a terminal adds is here; everything else about containers is in ``test_containers_beside_docker.py``.
"""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from support.side_by_side import IMAGE, Pair
from support.store import COMMAND
from support.terminal import Terminal, terminal

# The shell asks where the cursor is, and clears the line, when it likes: what is compared has no escape sequences.
SHELL = f"-it --name box {IMAGE} sh"
LOOP = "echo up; while true; do sleep 0.05; done"


@dataclass(frozen=True)
class Desk:
    """One engine and the way to sit down at it."""

    prefix: tuple[str, ...]
    environ: dict[str, str] | None
    network: tuple[str, ...]

    def sit(self, *words: str, size: tuple[int, int] = (24, 80)) -> AbstractContextManager[Terminal]:
        """Run a command of the engine on a terminal."""
        return terminal(self._command(words), size, self.environ)

    def cli(self, *words: str) -> bytes:
        """Run a command of the engine without one; its standard output."""
        done = subprocess.run(
            self._command(words), env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _command(self, words: tuple[str, ...]) -> tuple[str, ...]:
        starts = words[0] in ("run", "create")
        return (*self.prefix, words[0], *(self.network if starts else ()), *words[1:])


@pytest.fixture
def both(pair: Pair) -> Iterator[Callable[[Callable[[Desk], object]], object]]:
    """Play a scene at both engines at once; they must come to the same result, which is returned."""

    desks = (
        Desk(pair.docker.prefix, None, ("--network", "none")),
        Desk((COMMAND,), pair.store.environ(), ()),
    )

    def play(scene: Callable[[Desk], object]) -> object:
        with ThreadPoolExecutor(2) as seats:
            results = [seat.result() for seat in [seats.submit(scene, desk) for desk in desks]]
        assert results[0] == results[1]
        return results[1]

    yield play
    pair.forget("box")


def test_a_shell_has_a_terminal_of_the_callers_size(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", "--rm", *SHELL.split(), size=(33, 77)) as screen:
            screen.expect("# ")
            screen.type("echo $((6 * 7)) $TERM; busybox tty\n")
            screen.expect("42 xterm")
            screen.expect("/dev/pts/0")
            screen.type("busybox stty size\n")
            screen.expect("33 77")
            screen.type("exit 3\n")
            return screen.ended(), screen.restored

    assert both(scene) == (3, True)


def test_a_window_that_changes_its_size_tells_the_container(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", "--rm", "-it", IMAGE, "sh", "-c", f"trap 'busybox stty size' WINCH; {LOOP}") as screen:
            screen.expect("up")
            for rows in range(20, 30):
                # The container may run before Docker's client watches the size.
                screen.resize(rows, 50)
                with contextlib.suppress(AssertionError):
                    screen.expect(f"{rows} 50", timeout=2)
                    break
            screen.expect(" 50\r\n")
            screen.type("\x03")
            return screen.ended(), screen.restored

    assert both(scene) == (130, True)


@pytest.mark.parametrize("flags", ["-it", "-i", ""], ids=["terminal", "input only", "neither"])
def test_control_c_interrupts_the_command_inside(both: Callable[..., object], flags: str) -> None:
    def scene(desk: Desk) -> object:
        trap = f"trap 'echo interrupted; exit 4' INT; {LOOP}"
        with desk.sit("run", "--rm", *flags.split(), IMAGE, "sh", "-c", trap) as screen:
            screen.expect("up")
            screen.type("\x03")
            screen.expect("interrupted")
            return screen.ended(), screen.restored

    assert both(scene) == (4, True)


def test_sigterm_to_the_client_reaches_the_command_inside(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", "--rm", IMAGE, "sh", "-c", f"trap 'echo term; exit 5' TERM; {LOOP}") as screen:
            screen.expect("up")
            screen.send(signal.SIGTERM)
            return screen.ended(), screen.shown

    assert both(scene) == (5, "up\r\nterm\r\n")


def test_the_detach_keys_leave_it_running_and_attach_comes_back(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", *SHELL.split()) as screen:
            screen.expect("# ")
            screen.type("X=kept\n")
            screen.expect("# ", after=screen.shown.index("# ") + 2)
            screen.type("\x10\x11")
            run = screen.ended(), screen.restored
        with desk.sit("attach", "box") as screen:
            screen.type("echo still $X\n")
            screen.expect("still kept")
            screen.type("\x10\x11")
            attach = screen.ended(), screen.restored, "read escape sequence" in screen.shown
        with desk.sit("attach", "--detach-keys", "ctrl-a,b", "box") as screen:
            screen.type("echo again $X\n")
            screen.expect("again kept")
            screen.type("\x01b")
            keys = screen.ended(), screen.restored
        with desk.sit("attach", "box") as screen:
            screen.type("exit 9\n")
            return run, attach, keys, screen.ended(), screen.restored

    assert both(scene) == ((0, True), (1, True, True), (1, True), 9, True)


def test_half_of_the_detach_keys_is_passed_on(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", "--rm", "-it", IMAGE, "sh", "-c", "echo up; busybox cat -v") as screen:
            screen.expect("up")
            screen.type("\x10x\n")
            screen.expect("^Px\r\n^Px\r\n")
            screen.type("\x04")
            return screen.ended(), screen.shown

    both(scene)


def test_exec_has_a_terminal_of_its_own(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        desk.cli("run", "-d", "--name", "box", IMAGE, "sleep", "300")
        command = ("-it", "-e", "TERM=vt100", "box", "sh", "-c", "sleep 0.5; echo $TERM; busybox stty size; exit 4")
        with desk.sit("exec", *command, size=(30, 60)) as screen:
            done = screen.ended(), screen.shown, screen.restored
        with desk.sit("exec", "-it", "box", "sh", "-c", "echo up; cat") as screen:
            screen.expect("up")
            screen.type("abc\n")
            screen.expect("abc\r\nabc\r\n")
            screen.type("\x10\x11")
            return done, screen.ended(), screen.restored, "read escape sequence" in screen.shown

    assert both(scene) == ((4, "vt100\r\n30 60\r\n", True), 1, True, True)


def test_end_of_file_is_a_key(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        shown = []
        for flags in ("-it", "-i"):
            with desk.sit("run", "--rm", flags, IMAGE, "sh", "-c", "echo up; cat") as screen:
                screen.expect("up")
                screen.type("abc\n")
                screen.expect("abc\r\nabc\r\n")
                screen.type("\x04")
                shown.append((screen.ended(), screen.shown, screen.restored))
        return shown

    assert both(scene) == [(0, "up\r\nabc\r\nabc\r\n", True)] * 2


def test_the_terminal_is_as_it_was_when_the_container_is_stopped_or_removed(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        ends = []
        for command in (("stop", "-t", "0", "box"), ("rm", "-f", "box")):
            with desk.sit("run", "--rm", *SHELL.split()) as screen:
                screen.expect("# ")
                desk.cli(*command)
                ends.append((screen.ended(), screen.restored))
        return ends

    assert both(scene) == [(137, True)] * 2


def test_a_command_that_cannot_start_leaves_the_terminal_alone(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        with desk.sit("run", "--rm", "-it", IMAGE, "missing") as screen:
            status = screen.ended()
            return status, screen.restored, 'exec: "missing": executable file not found in $PATH' in screen.shown

    assert both(scene) == (127, True, True)


def test_start_brings_back_a_container_with_a_terminal(both: Callable[..., object]) -> None:
    def scene(desk: Desk) -> object:
        script = "echo ready; read x; echo got $x; exit 6"
        desk.cli("create", "-it", "--name", "box", IMAGE, "sh", "-c", script)
        with desk.sit("start", "-ai", "box") as screen:
            screen.expect("ready")
            screen.type("line\n")
            status = screen.ended()
            return status, screen.shown, screen.restored, desk.cli("logs", "box")

    both(scene)
