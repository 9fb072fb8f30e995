"""Jobs on containers that have no monitor: removed, and recorded as ended where a monitor was killed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.job import job
from kernel_sandbox.engine.removal import end_processes, remove_container
from kernel_sandbox.engine.tasks import OneContainer, Removal
from kernel_sandbox.errors import Conflict, NotFound
from kernel_sandbox.storage import state, tree

_KILLED, _LOST = 137, 255


@contextlib.contextmanager
def _locked(task: OneContainer) -> Iterator[tuple[state.State, state.Container] | None]:
    """The container with its lock held; None where a monitor has it. Raises NotFound."""
    files = task.paths.container(task.container)
    lock = locks.take(files.lock)
    if lock is None:
        yield None
        return
    try:
        database = state.State.at(task.paths.database)
        found = database.container(task.container)
        if found is None:
            tree.remove_tree(files.home)
            raise NotFound(f"No such container: {task.container}")
        yield database, found
    finally:
        os.close(lock)


@job(Removal)
def remove(task: Removal, descriptors: tuple[int, ...]) -> None:
    """Remove a container that does not run. Raises Conflict where it does."""
    with _locked(task) as held:
        if held is None:
            raise Conflict(f"container {task.container[:12]} is running: stop it, or use rm -f")
        database, found = held
        end_processes(found)
        remove_container(task.paths, database, found, task.volumes)


@job(OneContainer)
def mend(task: OneContainer, descriptors: tuple[int, ...]) -> None:
    """Record the end of a container whose monitor was killed, or whose machine went down."""
    with _locked(task) as held:
        if held is None or not held[1].is_active:
            return
        database, found = held
        end_processes(found)
        if found.options.remove:
            remove_container(task.paths, database, found)
        else:
            database.set_exited(found, _KILLED if found.started > _boot_time() else _LOST, False, time.time_ns())


def _boot_time() -> int:
    """When this machine started, in nanoseconds since the epoch (proc_stat(5), btime)."""
    with open("/proc/stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("btime")) * 10**9
