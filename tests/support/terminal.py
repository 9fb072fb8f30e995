"""A command on a terminal of its own, as a person at a keyboard has it. See pty(7)."""

import errno
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager


class Terminal:
    """A running command whose standard streams are one terminal. ``shown`` is all it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self._master = master
        self._slave = slave
        self._before = termios.tcgetattr(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        """Type *text*; control characters are keys, as ``\\x10`` for ^P."""
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size, as dragging its window does."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the window."""
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), self._master)

    def send(self, number: int) -> None:
        """Send a signal to the command."""
        self.process.send_signal(number)

    def expect(self, text: str, timeout: float = 15, after: int = 0) -> None:
        """Wait until *text* has been shown, from the character *after* on.

        Raises:
            AssertionError: it was not, in *timeout* seconds; carries what was.
        """
        self._read_until(lambda: text in self.shown[after:], timeout, f"{text!r}")

    def ended(self, timeout: float = 15) -> int:
        """Wait for the command to end; its exit status.

        Raises:
            AssertionError: it still runs after *timeout* seconds.
        """
        self._read_until(lambda: self.process.poll() is not None, timeout, "its end")
        self._read(0)
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal's modes are what they were in the beginning."""
        return termios.tcgetattr(self._slave) == self._before

    @property
    def is_raw(self) -> bool:
        """Whether keys arrive as they are typed, and lines mean nothing."""
        return not termios.tcgetattr(self._slave)[3] & termios.ICANON

    def _read_until(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}; shown: {self.shown!r}"
            self._read(0.05)

    def _read(self, wait: float) -> None:
        while select.select([self._master], [], [], wait)[0]:
            try:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return
            wait = 0


@contextmanager
def terminal(
    command: Sequence[str], size: tuple[int, int] = (24, 80), env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Start *command* as the leader of a session with a new terminal of *size* (rows, columns); kill it at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        yield Terminal(process, master, slave)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(5)
        os.close(master)
        os.close(slave)
