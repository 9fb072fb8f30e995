"""The caller's terminal while a process in a container has it (termios(3), ioctl_tty(2), signal(7)).

Here: raw mode, hiding what is typed, and the way back; the window's size, and the signals that concern them. Not here:
what is typed and shown.
"""

from __future__ import annotations

import errno
import os
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from kernel_sandbox.spec.runtime import ConsoleSize

_STDIN, _STDOUT = 0, 1
_DEADLY = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_INPUT, _OUTPUT, _CONTROL, _LOCAL, _CHARACTERS = 0, 1, 2, 3, 6  # places in what tcgetattr gives

Modes = list[Any]


class Interrupted(KeyboardInterrupt):
    """A signal has come that is to end this program; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def size() -> ConsoleSize | None:
    """The size of the window that output goes to, else of the one that input comes from, if either is one."""
    for descriptor in (_STDOUT, _STDIN):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        from kernel_sandbox.spec.runtime import ConsoleSize

        return ConsoleSize(height=rows, width=columns)
    return None


def follow_size(resize: Callable[[int, int], object]) -> None:
    """Call *resize* with the window's rows and columns, at once and whenever they change."""

    def pass_on(*_: object) -> None:
        found = size()
        if found is not None:
            resize(found.height, found.width)

    signal.signal(signal.SIGWINCH, pass_on)
    pass_on()


def end_on_signals() -> None:
    """Let the signals that would end this program raise Interrupted, so that it can tidy up first."""

    def interrupt(number: int, _: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    for number in _DEADLY:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def raw(descriptor: int) -> AbstractContextManager[None]:
    """The terminal in raw mode (cfmakeraw(3)): each key arrives as it is typed, and none means anything.

    In the background this waits until the program is in the foreground (SIGTTOU), and leaves the terminal alone in the
    end: it is then the shell's. What has been typed before is kept.
    """
    return _changed(descriptor, _raw)


def without_echo(descriptor: int) -> AbstractContextManager[None]:
    """The terminal as for a password: what is typed does not show, but for the end of the line."""
    return _changed(descriptor, _without_echo)


@contextmanager
def _changed(descriptor: int, change: Callable[[Modes], Modes]) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    modes = change(before)

    def resume(*_: object) -> None:
        if _is_in_foreground(descriptor):
            _set(descriptor, modes)

    _set(descriptor, modes)
    previous = signal.signal(signal.SIGCONT, resume)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, previous)
        if _is_in_foreground(descriptor):
            _set(descriptor, before)


def _without_echo(modes: Modes) -> Modes:
    changed = [*modes]
    changed[_LOCAL] = changed[_LOCAL] & ~termios.ECHO | termios.ECHONL
    return changed


def _raw(modes: Modes) -> Modes:
    changed = [*modes]
    changed[_INPUT] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    changed[_OUTPUT] &= ~termios.OPOST
    changed[_CONTROL] = changed[_CONTROL] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    changed[_LOCAL] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    changed[_CHARACTERS] = [*modes[_CHARACTERS]]
    changed[_CHARACTERS][termios.VMIN] = 1
    changed[_CHARACTERS][termios.VTIME] = 0
    return changed


def _set(descriptor: int, modes: Modes) -> None:
    """tcsetattr(3), again when the program was stopped meanwhile; a terminal that has gone needs no modes."""
    while True:
        try:
            return termios.tcsetattr(descriptor, termios.TCSANOW, modes)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                return None
            if error.args[0] != errno.EINTR:
                raise


def _is_in_foreground(descriptor: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
