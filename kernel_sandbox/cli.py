"""The command line: ``kernel-sandbox``, also ``jupyter sandbox``. Shows results on a terminal, as Docker does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from kernel_sandbox.commands import Context, invoke
from kernel_sandbox.commands.results import Download, Foreground, Logs, Result
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.runtime.frames import Frame, Kind

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine

_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE = 3
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code, at once: tearing the interpreter down takes longer than a container."""
    _open_standard_streams()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(code)


def _open_standard_streams() -> None:
    """A closed one would be the next thing that is opened; what is not there reads as empty (stdin(3))."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _run(arguments: Sequence[str]) -> int:
    try:
        result = invoke(arguments, Context(_open_engine))
        return _show(result)
    except SandboxError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _open_engine() -> Engine:
    """Imported here, since not every command needs it."""
    from kernel_sandbox.engine import Engine

    return Engine.open_single_threaded()


def _complain(error: SandboxError) -> None:
    print(f"kernel-sandbox: {error}", file=sys.stderr)


def _show(result: Result) -> int:
    match result:
        case Foreground():
            return _foreground(result)
        case Logs():
            for frame in result.frames:
                _write(frame)
        case Download():
            result.write(1)
        case _:
            text = result.text()
            if text:
                print(text, flush=True)
    for error in result.errors:
        _complain(error)
    return int(any(error.exit_code for error in result.errors))


def _foreground(result: Foreground) -> int:
    """Show the container's output, pass signals and input on, and return its exit code."""
    with result.attachment as attachment:
        received = 0

        def proxy(number: int, _: FrameType | None) -> None:
            nonlocal received
            received += 1
            if received > _PATIENCE:
                raise KeyboardInterrupt
            attachment.signal(number)

        for number in _PROXIED:
            signal.signal(number, proxy)
        for frame in attachment.output(0 if result.interactive else None):
            _write(frame)
        assert attachment.ending is not None
        return attachment.ending.exit_code


def _write(frame: Frame) -> None:
    descriptor = 2 if frame.kind is Kind.STDERR else 1
    rest = memoryview(frame.payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main()
