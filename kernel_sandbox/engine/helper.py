"""The warm helper's program: ``python -m kernel_sandbox.engine.helper FD`` serves jobs on that socket."""

from __future__ import annotations

import socket
import sys

from kernel_sandbox.engine.jobs import JOBS, get_ready_for_all, rehearse
from kernel_sandbox.runtime import workers


def main() -> None:
    """Serve until the client is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    workers.serve(control, JOBS, get_ready_for_all, rehearse)


if __name__ == "__main__":
    main()
