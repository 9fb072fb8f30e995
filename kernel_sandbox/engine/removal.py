"""Ending and removing what a container or a layer leaves behind, whoever owns it.

The calling process must have one thread only: files under subordinate ids are removed from inside a user namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal

from kernel_sandbox.engine import locks, writable
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.volumes import discarded
from kernel_sandbox.errors import Conflict, NotFound, StoreError
from kernel_sandbox.runtime import freezer, ids, signals
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
    if container.pid:
        with contextlib.suppress(ProcessLookupError):
            _end_first_process(container)
    group = Cgroup(tuple(dict.fromkeys((*container.cgroups, *Cgroup.left_of(container.id).paths))))
    signals.send_to_all(group.pids(), signal.SIGKILL, lambda pid: pid in group.pids())
    group.remove()


def _end_first_process(container: state.Container) -> None:
    """Held before it is looked at, since its number may be another process's by now."""
    pidfd = os.pidfd_open(container.pid)
    try:
        if signals.start_time(container.pid) == container.pid_start:
            signals.send_signal(container.pid, pidfd, signal.SIGKILL)
            freezer.freeze(container.cgroups, container.pid, False)
            signals.wait_for_end(pidfd)
    finally:
        os.close(pidfd)


def remove_container(paths: Paths, database: state.State, container: state.Container, volumes: bool = False) -> None:
    """Remove a container that does not run: its files first, so that a crash leaves it listed.

    Whoever reads them (commit, export) is waited for. With *volumes*, and after ``--rm``, its anonymous volumes go
    too, but those that others have.
    """
    files = paths.container(container.id)
    with contextlib.suppress(FileNotFoundError), locks.exclusive_directory(files.home):
        writable.release(files, container.options)
        remove_tree(files.home)
    if database.remove_container(container):
        from kernel_sandbox.engine.collection import suspect

        suspect(paths)
    if volumes or container.options.remove:
        _remove_anonymous_volumes(paths, database, container)


def _remove_anonymous_volumes(paths: Paths, database: state.State, container: state.Container) -> None:
    for mount in container.options.volumes:
        if mount.anonymous:
            with contextlib.suppress(Conflict, NotFound):
                remove_tree(discarded(paths, database.volumes, mount.name))
