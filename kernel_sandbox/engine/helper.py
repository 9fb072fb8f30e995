"""The warm helper's program: ``python -m kernel_sandbox.engine.helper FD`` serves jobs on that socket."""

from __future__ import annotations

import socket
import sys

from kernel_sandbox.engine.jobs import load_jobs
from kernel_sandbox.runtime import launcher


def main() -> None:
    """Serve until the client is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    launcher.serve(control, load_jobs, lasts=True)


if __name__ == "__main__":
    main()
