"""The command line: ``kernel-sandbox``, also ``jupyter sandbox``. Shows results on a terminal, as Docker does."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from kernel_sandbox import terminal
from kernel_sandbox.errors import SandboxError, presentable
from kernel_sandbox.spec import keys

if TYPE_CHECKING:
    from kernel_sandbox.commands.results import Foreground, Result
    from kernel_sandbox.engine import Engine
    from kernel_sandbox.engine.attachment import Attachment
    from kernel_sandbox.runtime.frames import Frame
    from kernel_sandbox.spec.progress import Progress, Tell

_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE = 3
_MANY_OBJECTS = 50_000
_INTERRUPTED = 130
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\033[H", "\033[K\n", "\033[J"
_HUNG_UP = 128 + signal.SIGHUP


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code, at once: tearing the interpreter down takes longer than a container."""
    gc.set_threshold(_MANY_OBJECTS)  # what is imported stays: looking for garbage in it is in vain
    _open_standard_streams()
    _import_msgspec()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    with suppress(KeyboardInterrupt):  # so late that it ends nothing
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
    os._exit(code)


def _open_standard_streams() -> None:
    """A closed one would be the next thing that is opened; what is not there reads as empty (stdin(3))."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _import_msgspec() -> None:
    """Import it without typing_extensions, which it prefers to typing: typing serves it as well, and is here."""
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # is not found then
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]


def _run(arguments: Sequence[str]) -> int:
    try:
        from kernel_sandbox.commands import Context, invoke

        context = Context(
            _open_engine,
            console=terminal.size(),
            confirm=_confirm,
            ask=_ask,
            lends_terminal=True,
            telling=_telling_aside,
        )
        result = invoke(arguments, context)
        return _show(result)
    except SandboxError as error:
        _complain(error)
        return error.exit_code
    except terminal.Interrupted as interruption:
        return 128 + interruption.number
    except KeyboardInterrupt:
        return _INTERRUPTED
    except EOFError:
        return _HUNG_UP
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return _HUNG_UP  # output has nowhere to go: the terminal has gone


def _open_engine() -> Engine:
    """Imported here, since not every command needs it."""
    from kernel_sandbox.engine import Engine

    return Engine.open_single_threaded()


def _confirm(warning: str) -> bool:
    """Ask whether to go on, as Docker does; where nothing can be read, the answer is no."""
    print(f"{warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin is not None and sys.stdin.readline().strip().lower() == "y"


def _ask(question: str, secret: bool) -> str:
    """Ask for a line, as Docker does; raises NotATerminal where nobody is there."""
    if sys.stdin is None or not sys.stdin.isatty():
        from kernel_sandbox.commands.command import cannot_answer

        cannot_answer(question, secret)
    terminal.end_on_signals()
    with terminal.without_echo(0) if secret else nullcontext():
        print(question, end="", flush=True)
        return sys.stdin.readline()


def _lines(stream: TextIO) -> Tell:
    """A line for what is news; that a bar would move is none."""

    def tell(progress: Progress) -> None:
        if not progress.total:
            print(progress, file=stream, flush=True)

    return tell


def _telling_aside() -> AbstractContextManager[Tell]:
    """Standard output is the result's alone."""
    terminal.end_on_signals()
    return nullcontext(_lines(sys.stderr))


def _complain(error: SandboxError) -> None:
    print(f"kernel-sandbox: {error}", file=sys.stderr)


def _show(result: Result) -> int:
    from kernel_sandbox.commands.results import Download, Foreground, Live, Logs, Stream, Transfer

    match result:
        case Foreground():
            return _foreground(result)
        case Logs():
            for frame in result.frames:
                _write(frame)
        case Stream():
            for line in result.lines:
                print(_presentable(line), flush=True)
        case Live():
            for view in result.views:
                print(_HOME + f"{view.text()}\n".replace("\n", _END_OF_LINE) + _END_OF_SCREEN, end="", flush=True)
        case Download():
            result.write(1)
        case Transfer():
            terminal.end_on_signals()
            for line in result.steps(_lines(sys.stdout)):
                print(line, flush=True)
        case _:
            print(_presentable(result.printed()), end="", flush=True)
    for error in result.errors:
        _complain(error)
    return int(any(error.exit_code for error in result.errors))


def _presentable(text: str) -> str:
    """What a stranger put into an image, and a template takes out, gives no orders to a terminal; programs get it."""
    return presentable(text, "\n\t") if sys.stdout and sys.stdout.isatty() else text


def _foreground(result: Foreground) -> int:
    """Show the process's output, pass input and signals on, and return its exit code."""
    has_keyboard = result.tty and result.interactive and os.isatty(0)
    leaving = keys.KeySequence(keys.parse(result.detach_keys)) if has_keyboard else None
    with result.attachment as attachment:
        if result.proxies_signals:
            _proxy_signals(attachment)
        elif has_keyboard:
            terminal.end_on_signals()
        with terminal.raw(0) if has_keyboard else nullcontext():
            if result.tty:
                terminal.follow_size(attachment.resize)
            for frame in attachment.output(0 if result.interactive else None, leaving):
                if not result.streams or frame.kind.name.lower() in result.streams:
                    _write(frame)
    if attachment.ending is not None:
        return attachment.ending.exit_code
    if result.is_left_with_error:
        raise SandboxError("read escape sequence")
    return 0


def _proxy_signals(attachment: Attachment) -> None:
    """Pass signals on, until somebody has had enough of that."""
    received = 0

    def proxy(number: int, _: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > _PATIENCE:
            raise KeyboardInterrupt
        attachment.signal(number)

    for number in _PROXIED:
        signal.signal(number, proxy)


def _write(frame: Frame) -> None:
    """All of it, also where the descriptor is shared with a program that made it non-blocking."""
    from kernel_sandbox.runtime.frames import Kind

    descriptor = 2 if frame.kind is Kind.STDERR else 1
    rest = memoryview(frame.payload)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())


if __name__ == "__main__":
    main()
