"""The client's side of jobs: work that other processes do, handed to a warm helper that has them ready.

A process with threads may not enter namespaces and should not fork, and Python's own start costs more than a
container. So a notebook keeps one single-threaded helper, fed over a socket pair, that lives no longer than its
client. A job is a name, an argument in bytes, and descriptors of which the first is the socket for its answer. Not
here: what the helper does (``workers``), what jobs there are (the engine).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime import interpreter, workers
from kernel_sandbox.runtime.frames import Decoder, Kind
from kernel_sandbox.runtime.job import Failure, Job, Request

if TYPE_CHECKING:
    import subprocess

_CHUNK = 1 << 16
_PULSE = 0.2  # seconds
_SECONDS_TO_LET_GO = 10.0


class Launcher(Protocol):
    """Starts jobs, each in a process of its own that outlives neither its work nor, unless it detaches, its client."""

    def spawn(self, job: str, argument: bytes, descriptors: Sequence[int]) -> None:
        """Start a job; it has its own copies of *descriptors*."""

    def warm_up(self, job: str) -> None:
        """Get ready for this job, which will come soon."""

    def close(self) -> None:
        """Start no more."""


class _HelperLauncher:
    """Feeds a helper, which is started when it is first needed, and again should it have died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the helper now, so that the first container need not wait for it."""
        with self._lock:
            self._connected()

    def spawn(self, job: str, argument: bytes, descriptors: Sequence[int]) -> None:
        message = msgspec.msgpack.encode(Request(job, argument))
        with self._lock:
            try:
                socket.send_fds(self._connected(), [message], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._disconnect()
                socket.send_fds(self._connected(), [message], descriptors)

    def warm_up(self, job: str) -> None:
        """Have the helper load what it needs for a job, while the client gets one ready."""
        self.spawn("", job.encode(), ())

    def close(self) -> None:
        """Let the helper go; it ends by itself."""
        with self._lock:
            self._disconnect()

    def _connected(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._start_helper(theirs, ours)
            self._control = ours
        return self._control

    def _disconnect(self) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
            self._control = None

    def _start_helper(self, control: socket.socket, ours: socket.socket) -> None:
        raise NotImplementedError


class ForkLauncher(_HelperLauncher):
    """For a process with a single thread, such as the command line: the helper is a fork of it.

    To be started before anything is open that must not be carried along. *get_ready* runs in the helper, when a job
    that needs much will come soon.
    """

    def __init__(self, jobs: Mapping[str, Job], get_ready: Callable[[str], None]) -> None:
        super().__init__()
        self._jobs = jobs
        self._get_ready = get_ready

    def _start_helper(self, control: socket.socket, ours: socket.socket) -> None:
        if workers.fork() == 0:
            try:
                ours.close()
                workers.serve(control, self._jobs, self._get_ready)
            finally:
                os._exit(0)


class WarmLauncher(_HelperLauncher):
    """For a notebook, whose threads forbid a fork: the helper is a program of its own, the Python *module*.

    It runs from a sealed copy where it must (``interpreter``), or is *sealed* in any case.
    """

    def __init__(self, module: str, sealed: bool = False) -> None:
        super().__init__()
        self._module = module
        self._sealed = sealed
        self._process: subprocess.Popen[bytes] | None = None

    def _start_helper(self, control: socket.socket, ours: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            if self._sealed or interpreter.is_exposed():
                program = stack.enter_context(interpreter.sealed())
                self._process = self._run(control.fileno(), f"/proc/self/fd/{program}", program)
            else:
                self._process = self._run(control.fileno(), sys.executable)

    def _run(self, control: int, program: str, *kept: int) -> subprocess.Popen[bytes]:
        import subprocess

        return subprocess.Popen(
            [sys.executable, "-P", "-m", self._module, str(control)],
            executable=program,
            pass_fds=[control, *kept],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def _disconnect(self) -> None:
        super()._disconnect()
        if self._process is not None:
            self._process.wait()
            self._process = None


class Call:
    """A job under way. A context manager: to leave it before there is a result gives the job up.

    Who gives it up waits for its end, within limits: what it had in hand would else be put in place behind their back.
    """

    def __init__(self, launcher: Launcher, job: str, argument: bytes, descriptors: Sequence[int] = ()) -> None:
        self._job = job
        self._is_over = False
        self._reply, theirs = socket.socketpair()
        with theirs:
            launcher.spawn(job, argument, (theirs.fileno(), *descriptors))

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        with self._reply:
            if not self._is_over:
                self._give_up()

    def _give_up(self) -> None:
        self._reply.settimeout(_SECONDS_TO_LET_GO)
        with contextlib.suppress(OSError):
            self._reply.shutdown(socket.SHUT_WR)
            while self._reply.recv(_CHUNK):
                pass

    def result(self, meanwhile: Callable[[], None] | None = None) -> bytes:
        """Wait for the job's result. Raises what the job raised.

        *meanwhile* is called now and then until it is there; what that raises ends the waiting.
        """
        self._reply.settimeout(_PULSE if meanwhile else None)
        decoder = Decoder()
        while data := self._receive(meanwhile):
            for frame in decoder.feed(data):
                self._is_over = True
                if frame.kind is Kind.FAILED:
                    raise Failure.read(frame).error()
                return frame.payload
        self._is_over = True
        raise HostError(f"the process for '{self._job}' was killed: try again")

    def _receive(self, meanwhile: Callable[[], None] | None) -> bytes:
        while True:
            try:
                return self._reply.recv(_CHUNK)
            except TimeoutError:
                assert meanwhile is not None
                meanwhile()


def call(
    launcher: Launcher,
    job: str,
    argument: bytes,
    descriptors: Sequence[int] = (),
    meanwhile: Callable[[], None] | None = None,
) -> bytes:
    """Start a job and wait for its result, as ``Call.result`` does. Raises what the job raised."""
    with Call(launcher, job, argument, descriptors) as started:
        return started.result(meanwhile)
