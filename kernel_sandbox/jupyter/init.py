"""The first process of a kernel's container: a program that Python runs there, with nothing but its standard library.

It starts the kernel in a process group of its own, passes signals on to all of that group, as a terminal would
(so that an interrupt reaches ``os.system("sleep 100")`` too), and reaps the orphans that init is given
(pid_namespaces(7)). It ends with the kernel and with its status, and the rest of the container with it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run the command that the arguments are; never returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    kernel = os.fork()
    if kernel == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(sys.argv[1], sys.argv[1:])
    with suppress(PermissionError):  # the kernel has set it itself and runs already
        os.setpgid(kernel, kernel)
    while True:
        number = signal.sigwait(signal.valid_signals())
        if number == signal.SIGCHLD:
            reap(kernel)
        else:
            with suppress(ProcessLookupError):
                os.killpg(kernel, number)


def reap(kernel: int) -> None:
    """Collect every child that has ended; end with the kernel, should it be among them."""
    with suppress(ChildProcessError):
        while ended := os.waitpid(-1, os.WNOHANG):
            pid, status = ended
            if pid == 0:
                return
            if pid == kernel:
                code = os.waitstatus_to_exitcode(status)
                os._exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main()
