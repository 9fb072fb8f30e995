"""A process that has gone into a running container's namespaces and stays there: executions are cloned from it.

A pid namespace is for the children of whoever joins it (pid_namespaces(7)), so each execution needs a process on the
way in. Made once, at the first execution, it saves all others a fork and the way. It is in neither the pid namespace
nor the control groups of the container, which sees nothing of it; it ends with the run, or with the monitor.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import command, namespaces
from kernel_sandbox.runtime.cgroups import Cgroup, Entrances
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.runtime import Process

_REQUEST = b"clone"
_DESCRIPTORS = 5

Become = Callable[[Process, tuple[int, int, int], socket.socket], None]
"""Turn the calling process, which is inside, into a command with these streams, and report on the channel."""


class Gate:
    """The way into one run of a container. *get_ready* is called in the new process while it is still outside.

    ``is_lost``: its process has been killed.
    """

    is_lost = False

    def __init__(self, first_pid: int, cgroup: Cgroup, get_ready: Callable[[], None], become: Become) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, namespaces.of_process(first_pid) as joined, cgroup.entrances() as entrances:
            self._pid = os.fork()
            if self._pid == 0:
                with command.reporting(theirs):
                    get_ready()
                    _stay(joined, entrances, theirs, become)

    def clone(self, process: Process, stdio: tuple[int, int, int], channel: socket.socket) -> tuple[int, int]:
        """A child of the calling process that becomes *process* inside: its pid and a pidfd.

        Raises ContainerStartError where it cannot be made.
        """
        document = os.memfd_create("process")
        try:
            os.write(document, msgspec.msgpack.encode(process))
            socket.send_fds(self._channel, [_REQUEST], (document, *stdio, channel.fileno()))
        except OSError as error:
            self.is_lost = True
            raise ContainerStartError(f"cannot go into the container: {(error.strerror or '').lower()}") from error
        finally:
            os.close(document)
        answer = self._channel.recv(namespaces.MAX_ANSWER)
        self.is_lost = not answer
        return namespaces.born_as(answer)

    def close(self) -> None:
        """Nobody goes in any more."""
        self._channel.close()
        os.waitpid(self._pid, 0)


def _stay(joined: Sequence[tuple[int, int]], entrances: Entrances, channel: socket.socket, become: Become) -> NoReturn:
    """Go in, and clone whatever is asked for until the monitor has gone."""
    signal.set_wakeup_fd(-1)
    command.close_others((channel.fileno(), *entrances.descriptors, *(descriptor for descriptor, _ in joined)))
    views = namespaces.go_in(joined)
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, len(_REQUEST), _DESCRIPTORS)
        if not request:
            os._exit(0)
        child = functools.partial(_arrive, entrances, views, descriptors, become)
        try:
            pid, pidfd = syscalls.clone3(syscalls.CLONE_PARENT, child, entrances.unified)
        except OSError as error:
            reason = (error.strerror or "").lower()
            channel.send(msgspec.msgpack.encode(command.Failure(f"cannot start a process inside: {reason}", 126)))
        else:
            channel.send(namespaces.PID.pack(pid))
            os.close(pidfd)
        for descriptor in descriptors:
            os.close(descriptor)


def _arrive(entrances: Entrances, views: Sequence[tuple[int, int]], descriptors: Sequence[int], become: Become) -> None:
    """In the new process: into the control groups, and on to its command."""
    document, stdin, stdout, stderr, channel = descriptors
    entrances.enter()
    namespaces.join(views)
    with socket.socket(fileno=channel) as own:
        content = os.pread(document, os.fstat(document).st_size, 0)
        become(msgspec.msgpack.decode(content, type=decodable(Process)), (stdin, stdout, stderr), own)
