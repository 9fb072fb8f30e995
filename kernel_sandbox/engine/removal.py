"""Ending and removing what a container or a layer leaves behind, whoever owns it.

The calling process must have one thread only: files under subordinate ids are removed from inside a user namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import StoreError
from kernel_sandbox.runtime import ids, signals
from kernel_sandbox.runtime.cgroups import Cgroup
from kernel_sandbox.storage import state, tree


def remove_tree(path: str) -> None:
    """Remove a tree; what belongs to subordinate ids goes in a process that is root among them."""
    try:
        tree.remove_tree(path)
    except PermissionError:
        ids.run_inside_store_namespace(lambda: tree.remove_tree(path))
    if os.path.lexists(path):
        raise StoreError(f"cannot remove {path}: some of it belongs to another user: remove it as root")


def end_processes(container: state.Container) -> None:
    """End what a container without a monitor still has: its first process, and its control groups."""
    if container.pid and signals.start_time(container.pid) == container.pid_start:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(container.pid)
            signals.send_signal(container.pid, pidfd, signal.SIGKILL)
            signals.wait_for_end(pidfd)
            os.close(pidfd)
    Cgroup(container.cgroups).remove()


def remove_container(paths: Paths, database: state.State, container: state.Container) -> None:
    """Remove a container that does not run: its files first, so that a crash leaves it listed.

    Whoever reads them (commit, export) is waited for.
    """
    home = paths.container(container.id).home
    with contextlib.suppress(FileNotFoundError), locks.exclusive_directory(home):
        remove_tree(home)
    database.remove_container(container)
