"""Compiles Python files side by side, to the same bytes every time.

The bytecode is of the timestamp kind (PEP 3147, PEP 552): whoever edits a module in a container sees the edit. The
compiling itself is done by `compiler`, in processes of its own.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack

from kernel_sandbox.bootstrap import compiler
from kernel_sandbox.bootstrap.rootfs import Bytecode
from kernel_sandbox.errors import HostError

_MAX_PROCESSES = 8


def compiled(files: Sequence[Bytecode], mtime: int) -> Generator[bytes, None, None]:
    """The content of each .pyc file, in order; empty where the source does not compile.

    ``mtime`` is the time, in seconds since 1970, that the source has in the root filesystem. Raises HostError if a
    compiler dies.
    """
    count = max(1, min(len(os.sched_getaffinity(0)), _MAX_PROCESSES, len(files)))
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker()) for _ in range(count)]
        for index, worker in enumerate(workers):
            stack.callback(worker.kill)
            _send(worker, files[index::count], mtime)
        for index in range(len(files)):
            yield _receive(workers[index % count])


def _worker() -> subprocess.Popen[bytes]:
    # Isolated and without site: what is compiled must not depend on what is set or installed here.
    return subprocess.Popen(
        (sys.executable, "-I", "-S", compiler.__file__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def _send(worker: subprocess.Popen[bytes], files: Sequence[Bytecode], mtime: int) -> None:
    fields = [str(mtime)] + [field for file in files for field in (file.source, "/" + file.module)]
    assert worker.stdin is not None
    try:
        with worker.stdin as stream:
            stream.write("\0".join(fields).encode("utf-8", "surrogateescape"))
    except BrokenPipeError as error:
        raise _ended() from error


def _receive(worker: subprocess.Popen[bytes]) -> bytes:
    assert worker.stdout is not None
    header = worker.stdout.read(compiler.SIZE_BYTES)
    content = worker.stdout.read(int.from_bytes(header, "big"))
    if len(header) < compiler.SIZE_BYTES or len(content) < int.from_bytes(header, "big"):
        raise _ended()
    return content


def _ended() -> HostError:
    return HostError(f"{sys.executable} ended while it compiled the base image's modules: try again")
