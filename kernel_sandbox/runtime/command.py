"""A process inside its namespaces becomes the user's command: streams, confinement, identity, execve(2).

The container's first process and every one that is executed later end here. It imports nothing heavy, and nothing at
all once it is inside, where the files are the container's. What goes wrong is sent back as one ``Failure``; a closed
channel means that the command runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import msgspec

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import console
from kernel_sandbox.spec import capabilities
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.runtime import Process

TERMINAL = b"terminal"
_SIGNALS = frozenset(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP}


class Failure(msgspec.Struct, frozen=True):
    """Why the command does not run: the line for the user, and ``run``'s exit code."""

    message: str
    exit_code: int


def failure(message: bytes) -> Failure:
    """What the other end of the channel reported; an end without a word was a kill."""
    if not message:
        return Failure("the process was killed before it ran: try again", 125)
    return msgspec.msgpack.decode(message, type=decodable(Failure))


@contextlib.contextmanager
def reporting(channel: socket.socket) -> Iterator[None]:
    """What must end in execve(2): a failure is reported on the channel, and the process ends."""
    try:
        yield
    except ContainerStartError as error:
        _report(channel, str(error), error.exit_code)
    except Exception as error:
        _report(channel, f"cannot set up the container: {error}", 125)
    os._exit(125)


def _report(channel: socket.socket, message: str, exit_code: int) -> None:
    text = message.encode(errors="replace").decode()  # a name may hold bytes that are no text
    channel.send(msgspec.msgpack.encode(Failure(text, exit_code)))


def close_others(kept: Iterable[int]) -> None:
    """Close every descriptor but the standard streams and those kept."""
    first = 3
    for descriptor in sorted(kept):
        if first < descriptor:
            syscalls.close_range(first, descriptor - 1)
        first = descriptor + 1
    syscalls.close_range(first)


def forbid_imports() -> None:
    """A module that is imported from here on would come from the container's files (CVE-2019-14271)."""
    sys.meta_path.clear()


def reset_signals() -> None:
    """What Python, the monitor or the caller ignores would stay ignored in the command (signal(7))."""
    for number in _SIGNALS:
        syscalls.rt_sigaction_default(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become_root(may_set_groups: bool) -> None:
    """The ids inside are valid from here on; supplementary groups of the host are left behind where allowed."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if may_set_groups:
        os.setgroups(())


def join_fresh_keyring() -> None:
    try:
        syscalls.join_session_keyring()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EDQUOT):
            raise


def make_terminal(ptmx: int, process: Process, channel: socket.socket) -> int:
    """The command's end of a new terminal, which belongs to its user; the other goes out on the channel."""
    ours, peer = console.open_pair(ptmx)
    if process.console_size:
        console.resize(peer, process.console_size)
    os.fchown(peer, process.user.uid, -1)
    socket.send_fds(channel, [TERMINAL], [ours])
    os.close(ours)
    return peer


def take_stdio(stdio: tuple[int, int, int]) -> None:
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number, inheritable=True)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)


def confine(process: Process, seccomp: bytes | None, may_set_groups: bool) -> None:
    """Working directory, capabilities, system calls, identity: what the command may do, and who it is."""
    _enter_directory(process)
    kept = capabilities.mask(process.capabilities.bounding)
    for number in range(len(capabilities.ALL)):
        if not kept >> number & 1:
            _drop_from_bounding_set(number)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if seccomp is not None:
        syscalls.seccomp_set_filter(seccomp)
    _take_identity(process, may_set_groups)


def _enter_directory(process: Process) -> None:
    """The working directory, with no way back to a directory of the host's."""
    try:
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        os.fchdir(syscalls.openat2(syscalls.AT_FDCWD, process.cwd, os.O_PATH | os.O_DIRECTORY, resolve=resolve))
    except OSError as error:
        raise ContainerStartError(
            f"cannot use {process.cwd!r} as the working directory: {(error.strerror or '').lower()}",
            126 if error.errno == errno.EACCES else 125,
        ) from error


def _drop_from_bounding_set(number: int) -> None:
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _take_identity(process: Process, may_set_groups: bool) -> None:
    if may_set_groups:
        os.setgroups(process.user.additional_gids)
    os.setresgid(process.user.gid, process.user.gid, process.user.gid)
    os.setresuid(process.user.uid, process.user.uid, process.user.uid)
    permitted = capabilities.mask(process.capabilities.permitted)
    syscalls.capset(capabilities.mask(process.capabilities.effective), permitted, 0)


def execute(process: Process) -> NoReturn:
    """execve(2) of the command, searched as execvp(3) does in the container's own PATH. Raises ContainerStartError."""
    environment = dict(entry.partition("=")[::2] for entry in process.env)
    program = _found(process.args[0], environment.get("PATH", ""))
    try:
        os.execve(program, process.args, environment)
    except OSError as error:
        raise _cannot_run(process.args[0], error) from error


def _found(name: str, path: str) -> str:
    if "/" in name:
        return name
    refused: OSError | None = None
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
        if os.path.isfile(candidate):
            refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if refused:
        raise _cannot_run(name, refused)
    raise ContainerStartError(f"exec: {_quoted(name)}: executable file not found in $PATH", 127)


def _cannot_run(name: str, error: OSError) -> ContainerStartError:
    reason = "is a directory" if os.path.isdir(name) else (error.strerror or "").lower()
    return ContainerStartError(f"exec: {_quoted(name)}: {reason}", _invocation_code(error))


def _quoted(name: str) -> str:
    """One line, whatever the name is."""
    return f'"{name}"'.replace("\n", "\\n")


def _invocation_code(error: OSError) -> int:
    """127 for what is not there, 126 for what cannot be invoked, as Docker tells them apart."""
    return 127 if error.errno == errno.ENOENT else 126


def reap_for(start: Callable[[], NoReturn], has_terminal: bool, channel: socket.socket) -> NoReturn:
    """Be an init: start the command as a child, pass signals on to it, reap every orphan, end as the command ends."""
    everything = signal.valid_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    child = os.fork()
    if child == 0:
        with reporting(channel):
            _lead_own_group(has_terminal)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            start()
    syscalls.set_command_line(b"/sbin/docker-init")
    syscalls.close_range(0)
    while True:
        number = signal.sigwaitinfo(everything).si_signo
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        for pid, status in iter(_reaped, (0, 0)):
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _lead_own_group(has_terminal: bool) -> None:
    """The command's process group has the terminal, so that keys reach it once and not through its init again."""
    os.setpgid(0, 0)
    if has_terminal:
        os.tcsetpgrp(0, os.getpid())


def _reaped() -> tuple[int, int]:
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
