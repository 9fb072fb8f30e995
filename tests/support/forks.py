"""The command line without a new interpreter: one warm process forks each command. Also the program of that process.

Starting Python and importing the product is most of what a short command costs, and always the same. `make test` asks
for forks (``KS_FORKED=1``); the first command line of each kind runs as it is installed all the same.
What a command sees is what ``subprocess.run`` would give it: arguments, environment, directory, streams, signals.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

_STREAMS = (0, 1, 2)
_CHUNK = 1 << 16
_READY = b"!"
# Read by the interpreter as it starts, when a fork has started already.
_OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG")
_GROUPS = {"container", "image", "manifest", "system", "volume"}
_kinds_run: set[tuple[str, ...]] = set()


def can_run(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether forks are asked for, and nothing here needs an interpreter that starts.

    The first command line of each kind, which are a command and its flags, is to run as it is installed; and so is one
    with another environment of the interpreter's own than ours.
    """
    if os.environ.get("KS_FORKED") != "1":
        return False
    words = arguments[: 2 if arguments[:1] and arguments[0] in _GROUPS else 1]
    kind = (*words, *sorted({each.partition("=")[0] for each in arguments if each.startswith("-")}))
    is_first = kind not in _kinds_run
    _kinds_run.add(kind)
    names = {name for name in {*environment, *os.environ} if name.startswith(_OF_THE_INTERPRETER)}
    return not is_first and all(os.environ.get(name) == environment.get(name) for name in names)


def run(
    command: Sequence[str], input: bytes, timeout: float, environment: Mapping[str, str], directory: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command``, a program's path and its arguments, to its end in a fork.

    Raises:
        subprocess.TimeoutExpired: still running after ``timeout`` seconds; it has been killed.
    """
    pipes = [os.pipe() for _ in range(4)]
    (stdin, feed), *answers = pipes
    request = os.memfd_create("request")
    with open(request, "w") as file:
        json.dump([list(command), dict(environment), directory], file)
        file.flush()
        socket.send_fds(_server(), [_READY], [request, stdin, *(theirs for _, theirs in answers)])
    for theirs in (stdin, *(each for _, each in answers)):
        os.close(theirs)
    try:
        out, err, reply = _exchange(feed, [ours for ours, _ in answers], input, time.monotonic() + timeout)
    except TimeoutError as error:
        raise subprocess.TimeoutExpired(list(command), timeout) from error
    pid, _, status = reply.partition(b" ")
    assert pid and status, "the process that forks the commands has ended"
    return subprocess.CompletedProcess(list(command), int(status), out, err)


def _exchange(feed: int, answers: Sequence[int], input: bytes, deadline: float) -> list[bytes]:
    """Write ``input`` to ``feed`` and read ``answers`` to their ends; the last begins with the process to kill."""
    texts = {each: bytearray() for each in answers}
    left = memoryview(input)
    with selectors.DefaultSelector() as selector:
        selector.register(feed, selectors.EVENT_WRITE)
        for each in answers:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                os.kill(int(texts[answers[-1]].split()[0]), signal.SIGKILL)
                for each in list(selector.get_map()):
                    os.close(each)
                raise TimeoutError
            for key, _ in ready:
                if key.fd == feed:
                    left = _fed(feed, left)
                    ended = not left
                else:
                    ended = not (more := os.read(key.fd, _CHUNK))
                    texts[key.fd] += more
                if ended:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [bytes(text) for text in texts.values()]


def _fed(feed: int, left: memoryview) -> memoryview:
    """What is left after a write that does not block (PIPE_BUF in pipe(7))."""
    try:
        return left[os.write(feed, left[: select.PIPE_BUF]) :] if left else left
    except BrokenPipeError:
        return left[:0]


@functools.cache
def _server() -> socket.socket:
    """The connection to the warm process, which ends when this process does. It knows of no store."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if name != "KERNEL_SANDBOX_HOME"}
    program = [sys.executable, "-P", __file__, str(theirs.fileno())]
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(program, pass_fds=(theirs.fileno(),), env=environment, cwd="/", **streams)
    theirs.close()
    atexit.register(process.wait, 10)
    atexit.register(ours.close)
    assert ours.recv(1), "the process that forks the commands does not start"
    return ours


def _serve(control: socket.socket) -> None:
    """Fork for each request, and report each end, until the other side closes."""
    running: dict[int, tuple[int, int]] = {}
    control.send(_READY)
    while True:
        for ready in select.select([control.fileno(), *running], [], [])[0]:
            if ready in running:
                pid, reply = running.pop(ready)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(BrokenPipeError):  # nobody waits for one that has been killed
                    os.write(reply, b"%d" % status)
                os.close(reply)
                os.close(ready)
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 1, 5)
            if not message:
                return
            pid = os.fork()
            if not pid:
                _become(*descriptors)
            request, *streams, reply = descriptors
            os.write(reply, b"%d " % pid)
            running[os.pidfd_open(pid)] = (pid, reply)
            for each in (request, *streams):
                os.close(each)


def _become(request: int, *descriptors: int) -> NoReturn:
    """Be the command: nothing of the warm process is left but its modules."""
    try:
        with open(request) as file:
            file.seek(0)
            (program, *arguments), environment, directory = json.load(file)
        for stream in _STREAMS:
            os.dup2(descriptors[stream], stream)
        os.closerange(len(_STREAMS), os.sysconf("SC_OPEN_MAX"))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        sys.argv = [program, *arguments]
        sys.modules["kernel_sandbox.cli"].main()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _warm_up() -> None:
    """Import what any command may need, and keep the garbage collector from copying it."""
    importlib.import_module("kernel_sandbox.cli")
    for package in ("commands", "engine", "storage", "runtime"):
        found = importlib.import_module(f"kernel_sandbox.{package}")
        for module in pkgutil.iter_modules(found.__path__, f"{found.__name__}."):
            importlib.import_module(module.name)
    gc.freeze()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm_up()
    _serve(socket.socket(fileno=int(sys.argv[1])))
