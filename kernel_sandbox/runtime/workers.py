"""The helper: one thread that forks processes for jobs, and what such a process does with one.

A forked process pays for each page of memory when it first touches it, more than a small job takes. So one that has
done a job that ``repeats`` waits for another; all others end with their job. Not here: who asks (``launcher``).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping

import msgspec

from kernel_sandbox.errors import HostError, SandboxError
from kernel_sandbox.runtime import ids
from kernel_sandbox.runtime.frames import Frame, Kind
from kernel_sandbox.runtime.job import MAX_DESCRIPTORS, MAX_MESSAGE, Failure, Job, Request
from kernel_sandbox.spec.decoding import decodable

_DONE = b"done"
_SECONDS_OF_REST = 60


def fork() -> int:
    """fork(2) with signals held back: what a handler raises in the midst of Python's part of it would be lost."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return os.fork()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def serve(
    control: socket.socket,
    jobs: Mapping[str, Job],
    get_ready: Callable[[str], None],
    rehearse: Callable[[], None] | None = None,
) -> None:
    """The helper's life: hand each request to a process of its own until the client is gone.

    One such process waits in reserve, so that no request waits for a fork. A helper that lasts has something to
    *rehearse*: it makes the next process at once, with all that *get_ready* has loaded, and that one goes through it
    while it waits. A request without a job asks for just that; its argument names the job.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    _Helper(control, jobs, get_ready, rehearse).run()


class _Helper:
    """The processes that wait: one in reserve, one that has rested since its last job, and the busy ones that may."""

    def __init__(
        self,
        control: socket.socket,
        jobs: Mapping[str, Job],
        get_ready: Callable[[str], None],
        rehearse: Callable[[], None] | None,
    ) -> None:
        self._control = control
        self._jobs = jobs
        self._get_ready = get_ready
        self._rehearse = rehearse
        self._reserve: socket.socket | None = None
        self._rested: socket.socket | None = None
        self._busy: dict[int, socket.socket] = {}

    def run(self) -> None:
        while True:
            ready = self._ready()
            for descriptor in ready & self._busy.keys():  # first: who asks again has been answered after that
                self._take_back(self._busy.pop(descriptor))
            if not ready and self._rested:
                self._rested.close()
                self._rested = None
            if self._control.fileno() in ready and not self._serve():
                return

    def _ready(self) -> set[int]:
        poll = select.poll()
        for descriptor in (self._control.fileno(), *self._busy):
            poll.register(descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(_SECONDS_OF_REST * 1000 if self._rested else None)}

    def _take_back(self, worker: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):  # it was killed before it took the request
            if worker.recv(len(_DONE)) and self._rested is None:
                self._rested = worker
                return
        worker.close()

    def _serve(self) -> bool:
        """One request; whether there was one."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, MAX_DESCRIPTORS)
        if not message:
            return False
        request = msgspec.msgpack.decode(message, type=decodable(Request))
        name = request.job
        if self._rehearse or not name:
            self._get_ready(name or request.argument.decode())
        if name:
            self._hand_over(self._jobs[name], message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if self._rehearse or not name:
            self._reserve = self._reserve or self._fork()
        return True

    def _hand_over(self, job: Job, message: bytes, descriptors: list[int]) -> None:
        for worker in self._free(job):
            try:
                socket.send_fds(worker, [message], descriptors)
            except (BrokenPipeError, ConnectionResetError):  # it was killed while it waited
                worker.close()
                continue
            if job.repeats:
                self._busy[worker.fileno()] = worker
            else:
                worker.close()
            return

    def _free(self, job: Job) -> Iterator[socket.socket]:
        """Processes that can do it: the one that has rested, the one in reserve, a new one."""
        if job.repeats and self._rested:
            worker, self._rested = self._rested, None
            yield worker
        job.load()
        if self._reserve:
            worker, self._reserve = self._reserve, None
            yield worker
        yield self._fork()

    def _fork(self) -> socket.socket:
        """A process that waits for a request; without one it ends when the helper does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if fork() == 0:
            try:
                for inherited in filter(None, (self._control, ours, self._rested, *self._busy.values())):
                    inherited.close()
                if self._rehearse:
                    self._rehearse()
                _work(theirs, self._jobs)
            finally:
                os._exit(0)
        theirs.close()
        return ours


def _work(channel: socket.socket, jobs: Mapping[str, Job]) -> None:
    """Be the process of the job that comes and, where it ``repeats``, of those that follow."""
    first = _receive(channel, jobs)
    if first is None:
        return

    def work() -> None:
        task: _Task | None = first
        while task is not None and task.carry_out(channel):
            task = _receive(channel, jobs)

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not first.job.repeats:
        channel.close()
    try:
        if first.job.inside_store_namespace:
            ids.run_inside_store_namespace(work)
        else:
            work()
    except SandboxError as error:
        first.answer(Failure.of(error).frame())


def _receive(channel: socket.socket, jobs: Mapping[str, Job]) -> _Task | None:
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
    if not message:
        return None
    request = msgspec.msgpack.decode(message, type=decodable(Request))
    return _Task(jobs[request.job], request.argument, tuple(descriptors))


class _Task(msgspec.Struct, frozen=True):
    """A job to be done now, with its argument and its descriptors."""

    job: Job
    argument: bytes
    descriptors: tuple[int, ...]

    def carry_out(self, channel: socket.socket) -> bool:
        """Do it and answer; whether this process may do another, which the helper then knows by *channel*."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with _interrupted_by_end_of(self.descriptors[0]) if self.job.ends_with_client else contextlib.nullcontext():
            outcome = self._outcome()
        goes_on = self.job.repeats and outcome.kind is Kind.RESULT
        if goes_on:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.enable()
            channel.send(_DONE)
        self.answer(outcome)
        return goes_on

    def _outcome(self) -> Frame:
        try:
            return Frame(Kind.RESULT, self.job.load()(self.argument, self.descriptors))
        except SandboxError as error:
            return Failure.of(error).frame()
        except KeyboardInterrupt:
            return Failure.of(SandboxError("interrupted")).frame()
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            return Failure.of(HostError(f"{(error.strerror or str(error)).lower()}{where}")).frame()
        except Exception as error:
            return Failure.of(HostError(f"internal error: {type(error).__name__}: {error}")).frame()

    def answer(self, frame: Frame) -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=self.descriptors[0]) as reply:
            reply.setblocking(True)
            reply.sendall(frame.encode())


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
