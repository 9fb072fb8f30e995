"""One monitor per container: starts its process, keeps its output, serves its clients, records its end.

The monitor has one thread, a session of its own and no terminal; it outlives the client that asked for the
container. What it learns goes to a ``Journal`` (the engine's); how it talks is in ``frames``. Should it be killed,
the kernel ends the container with it (PR_SET_PDEATHSIG in ``init``), and the next command finds that out.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Protocol

import msgspec

from kernel_sandbox.errors import StoreError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import sessions
from kernel_sandbox.runtime.cgroups import Cgroup
from kernel_sandbox.runtime.frames import Ending, Frame, Kind
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.runtime.process import Container, ContainerProcess
from kernel_sandbox.runtime.relay import Relay
from kernel_sandbox.runtime.signals import start_time


class Running(msgspec.Struct, frozen=True):
    """A started container: the host's pid of its first process, when that one started (proc_pid_stat(5) field 22,
    which tells it from a later process of the same number), and its control groups."""

    pid: int
    start_time: int
    cgroups: tuple[str, ...]


class Journal(Protocol):
    """Where a monitor records what happens; other processes see it when the call returns.

    An end that cannot be recorded (a full disk) is found out by the next command.
    """

    def started(self, running: Running) -> None: ...

    def exited(self, ending: Ending) -> None: ...


def run(container: Container, journal: Journal, first: sessions.Session | None) -> None:
    """Start the container and stay until it has ended and its clients have read everything.

    *first* is the client that asked for it. Raises ContainerStartError or HostError where it does not start;
    then nothing is left of it.
    """
    with contextlib.ExitStack() as stack:
        cgroup = Cgroup.create(container.id, container.spec.linux.resources, container.privileged)
        stack.callback(cgroup.remove)
        log = LogWriter(container.log_path)
        stack.callback(log.close)
        process = ContainerProcess.start(container, cgroup)
        stack.callback(process.close)
        journal.started(Running(process.pid, start_time(process.pid), cgroup.paths))
        relay = Relay(process, log, container.socket_path)
        stack.callback(relay.close)
        if first:
            relay.welcome(first)
            first.send(Frame(Kind.STARTED, str(process.pid).encode()))
        exit_code = relay.until_exit()
        ending = Ending(exit_code, cgroup.oom_killed())
        relay.stop_listening()
        with contextlib.suppress(OSError):
            cgroup.remove()
        with contextlib.suppress(StoreError):
            journal.exited(ending)
        relay.finish(Frame(Kind.EXITED, msgspec.msgpack.encode(ending)))


def detach(kept: Sequence[int]) -> None:
    """Make the calling process a monitor: own session, no terminal, deaf to the signals meant for its client.

    Of its client's descriptors it keeps only those.
    """
    os.setsid()
    first = 3
    for descriptor in sorted(kept):
        if first < descriptor:
            syscalls.close_range(first, descriptor - 1)
        first = descriptor + 1
    syscalls.close_range(first)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
