"""A kernel's container as the process that jupyter_client expects: the part of ``subprocess.Popen`` that it uses."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from kernel_sandbox.engine.attachment import Attachment
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.runtime.frames import Ending, Kind

Redirection = int | IO[bytes] | IO[str] | None
_LOST = Ending(exit_code=128 + signal.SIGKILL, oom_killed=False)


class KernelProcess:
    """A running kernel. Its output goes where Popen's *stdout* and *stderr* would send it, or is dropped.

    *on_end* is called in a thread with how the kernel ended. The kernel ends with this process, too: then its
    monitor finds the connection closed.
    """

    stdin = None

    def __init__(
        self,
        attachment: Attachment,
        on_end: Callable[[Ending], None],
        stdout: Redirection = None,
        stderr: Redirection = None,
    ) -> None:
        self._attachment = attachment
        self._on_end = on_end
        self._ending: Ending | None = None
        self.stdout, out = _redirected(stdout, 1)
        self.stderr, err = (None, out) if stderr == subprocess.STDOUT else _redirected(stderr, 2)
        self._sinks = {Kind.STDOUT: out, Kind.STDERR: err}
        self._reader = threading.Thread(target=self._read, name="kernel output", daemon=True)
        self._reader.start()

    def poll(self) -> int | None:
        """The exit status, 128 + n for signal n; None while the kernel runs."""
        return None if self._ending is None else self._ending.exit_code

    def join(self, seconds: float) -> None:
        """Until the kernel has ended, or for *seconds*."""
        self._reader.join(seconds)

    def wait(self) -> int:
        """Wait for the end; returns the exit status and hangs up."""
        with self._attachment:
            self._reader.join()
        assert self._ending is not None
        return self._ending.exit_code

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and what it has started in its process group."""
        if self.poll() is None:
            self._attachment.signal(number)

    def kill(self) -> None:
        """End the container at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)

    def _read(self) -> None:
        try:
            for frame in self._attachment.output():
                _write(self._sinks.get(Kind(frame.kind)), frame.payload)
            ending = self._attachment.ending or _LOST
        except (SandboxError, OSError):
            ending = _LOST
        for sink in {sink for sink in self._sinks.values() if sink is not None}:
            os.close(sink)
        self._ending = ending
        self._on_end(ending)


def _redirected(wanted: Redirection, own: int) -> tuple[IO[bytes] | None, int | None]:
    """What the caller reads from, if it asked for a pipe, and a descriptor of our own to write to."""
    if wanted == subprocess.PIPE:
        reader, writer = os.pipe()
        return os.fdopen(reader, "rb"), writer
    if wanted == subprocess.DEVNULL:
        return None, None
    with suppress(OSError, ValueError):
        if wanted is None:
            return None, os.dup(own)
        return None, os.dup(wanted if isinstance(wanted, int) else wanted.fileno())
    return None, None


def _write(sink: int | None, data: bytes) -> None:
    """Nobody reading is no reason to stop: the log has it all."""
    with suppress(OSError):
        while sink is not None and data:
            data = data[os.write(sink, data) :]
