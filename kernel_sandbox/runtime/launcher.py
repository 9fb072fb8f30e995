"""Starting processes that clone: directly where that is safe, else through a warm helper.

A process with threads may not enter namespaces and should not fork, and Python's own start costs more than a
container. So a notebook keeps one single-threaded helper, fed over a socket pair; it forks one process for each
job and lives no longer than its client. A job is a name, an argument in bytes, and descriptors of which the first
is the socket for its answer. What jobs there are is the engine's business.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from kernel_sandbox import errors
from kernel_sandbox.errors import HostError, SandboxError
from kernel_sandbox.runtime import ids, interpreter
from kernel_sandbox.runtime.frames import Decoder, Frame, Kind

if TYPE_CHECKING:
    import subprocess

_MAX_MESSAGE = 1 << 17
_MAX_DESCRIPTORS = 16
_CHUNK = 1 << 16
_PULSE = 0.2  # seconds
_SECONDS_TO_LET_GO = 10.0


class Job(msgspec.Struct, frozen=True):
    """Work for a process of its own: from an argument and descriptors to a result.

    ``place`` is its function's, ``module:name``; it is imported when it is first asked for.
    ``inside_store_namespace``: as root among the owners of the stored files. ``ends_with_client``: it is interrupted
    when nobody waits for its result any more.
    """

    place: str
    inside_store_namespace: bool = True
    ends_with_client: bool = False

    def load(self) -> Callable[[bytes, tuple[int, ...]], bytes]:
        """The function."""
        module, _, name = self.place.partition(":")
        function: Callable[[bytes, tuple[int, ...]], bytes] = getattr(importlib.import_module(module), name)
        return function


class Failure(msgspec.Struct, frozen=True):
    """An error on its way to the client."""

    type: str
    message: str
    exit_code: int

    @classmethod
    def of(cls, error: SandboxError) -> Failure:
        return cls(type(error).__name__, str(error), error.exit_code)

    def error(self) -> SandboxError:
        """The same error, to be raised on this side."""
        kind = getattr(errors, self.type, SandboxError)
        error: SandboxError = kind(self.message)
        error.exit_code = self.exit_code
        return error

    def frame(self) -> Frame:
        return Frame(Kind.FAILED, msgspec.msgpack.encode(self))

    @classmethod
    def read(cls, frame: Frame) -> Failure:
        return msgspec.msgpack.decode(frame.payload, type=cls)


class _Request(msgspec.Struct, frozen=True):
    job: str
    argument: bytes


class Launcher(Protocol):
    """Starts jobs, each in a process of its own that outlives neither its work nor, unless it detaches, its client."""

    def spawn(self, job: str, argument: bytes, descriptors: Sequence[int]) -> None:
        """Start a job; it has its own copies of *descriptors*."""

    def warm_up(self) -> None:
        """Get ready for a job that will come soon."""

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
        message = msgspec.msgpack.encode(_Request(job, argument))
        with self._lock:
            try:
                socket.send_fds(self._connected(), [message], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._disconnect()
                socket.send_fds(self._connected(), [message], descriptors)

    def warm_up(self) -> None:
        """Have the helper load what it needs for a job, while the client gets one ready."""
        self.spawn("", b"", ())

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

    def __init__(self, jobs: Mapping[str, Job], get_ready: Callable[[], None]) -> None:
        super().__init__()
        self._jobs = jobs
        self._get_ready = get_ready

    def _start_helper(self, control: socket.socket, ours: socket.socket) -> None:
        if os.fork() == 0:
            try:
                ours.close()
                serve(control, self._jobs, self._get_ready, lasts=False)
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


def serve(control: socket.socket, jobs: Mapping[str, Job], get_ready: Callable[[], None], lasts: bool) -> None:
    """The helper's life: hand each request to a process of its own until the client is gone.

    One such process waits in reserve, so that no request waits for a fork; a helper that *lasts* makes the next one at
    once, with all that *get_ready* has loaded. A request without a job asks for just that.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    reserve: socket.socket | None = None
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE, _MAX_DESCRIPTORS)
        if not message:
            return
        job = msgspec.msgpack.decode(message, type=_Request).job
        if lasts or not job:
            get_ready()
        else:
            jobs[job].load()
        reserve = reserve or _fork_reserve(control, jobs)
        if job:
            socket.send_fds(reserve, [message], descriptors)
            reserve.close()
            reserve = None
        for descriptor in descriptors:
            os.close(descriptor)
        if lasts:
            reserve = reserve or _fork_reserve(control, jobs)


def _fork_reserve(control: socket.socket, jobs: Mapping[str, Job]) -> socket.socket:
    """A process that waits for one request and carries it out; without one it ends when the helper does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            control.close()
            ours.close()
            message, descriptors, _, _ = socket.recv_fds(theirs, _MAX_MESSAGE, _MAX_DESCRIPTORS)
            theirs.close()
            if message:
                request = msgspec.msgpack.decode(message, type=_Request)
                run_job(jobs[request.job], request.argument, tuple(descriptors))
        finally:
            os._exit(0)
    theirs.close()
    return ours


def run_job(job: Job, argument: bytes, descriptors: tuple[int, ...]) -> NoReturn:
    """Be the job's process: answer with its result or its failure, and end."""

    def work() -> None:
        with _interrupted_by_end_of(descriptors[0]) if job.ends_with_client else contextlib.nullcontext():
            outcome = _outcome(job, argument, descriptors)
        _answer(descriptors[0], outcome)

    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if job.inside_store_namespace:
            ids.run_inside_store_namespace(work)
        else:
            work()
    except SandboxError as error:
        _answer(descriptors[0], Failure.of(error).frame())
    finally:
        os._exit(0)


@contextlib.contextmanager
def _interrupted_by_end_of(descriptor: int) -> Iterator[None]:
    """KeyboardInterrupt, once, when nothing more will come from the other end of a socket.

    The kernel tells it by SIGIO (fcntl(2), O_ASYNC).
    """
    end = select.poll()
    end.register(descriptor, select.POLLRDHUP)

    def interrupt(*_: object) -> None:
        if end.poll(0):
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            raise KeyboardInterrupt

    signal.signal(signal.SIGIO, interrupt)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC | fcntl.fcntl(descriptor, fcntl.F_GETFL))
    try:
        interrupt()
        yield
    finally:
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def _answer(descriptor: int, frame: Frame) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as reply:
        reply.setblocking(True)
        reply.sendall(frame.encode())


def _outcome(job: Job, argument: bytes, descriptors: tuple[int, ...]) -> Frame:
    try:
        return Frame(Kind.RESULT, job.load()(argument, descriptors))
    except SandboxError as error:
        return Failure.of(error).frame()
    except KeyboardInterrupt:
        return Failure.of(SandboxError("interrupted")).frame()
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return Failure.of(HostError(f"{(error.strerror or str(error)).lower()}{where}")).frame()
    except Exception as error:
        return Failure.of(HostError(f"internal error: {type(error).__name__}: {error}")).frame()


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
