"""What runs in processes of its own: all that touches layers, takes a container's lock, or stays with a container.

A job gets its argument as a msgpack document and answers with one. Layers are touched as root among their owners
(``runtime.ids``), so the same functions serve root and an ordinary user. Here is where each is; it is imported when it
is first asked for.
"""

from __future__ import annotations

import functools
import gc

from kernel_sandbox.runtime.job import Job

STARTING = "supervise"
"""The job that starts a container and stays with it."""

JOBS = {
    STARTING: Job("kernel_sandbox.engine.supervisor:supervise", inside_store_namespace=False),
    "remove": Job("kernel_sandbox.engine.container_jobs:remove", inside_store_namespace=False),
    "mend": Job("kernel_sandbox.engine.container_jobs:mend", inside_store_namespace=False),
    "ingest": Job("kernel_sandbox.engine.layer_jobs:ingest", ends_with_client=True),
    "load": Job("kernel_sandbox.engine.archive_jobs:load", ends_with_client=True),
    "unpack": Job("kernel_sandbox.engine.layer_jobs:unpack", ends_with_client=True),
    "pack_diff": Job("kernel_sandbox.engine.layer_jobs:pack_diff", ends_with_client=True, repeats=True),
    "pack_rootfs": Job("kernel_sandbox.engine.layer_jobs:pack_rootfs", ends_with_client=True),
    "diff": Job("kernel_sandbox.engine.layer_jobs:diff", repeats=True),
    "copy_out": Job("kernel_sandbox.engine.copy_jobs:copy_out", inside_store_namespace=False),
    "copy_in": Job("kernel_sandbox.engine.copy_jobs:copy_in", inside_store_namespace=False),
    "bootstrap": Job("kernel_sandbox.engine.layer_jobs:bootstrap", ends_with_client=True),
    "remove_layers": Job("kernel_sandbox.engine.layer_jobs:remove_layers", ends_with_client=True, repeats=True),
    "remove_trees": Job("kernel_sandbox.engine.layer_jobs:remove_trees", repeats=True),
    "measure_trees": Job("kernel_sandbox.engine.layer_jobs:measure_trees", repeats=True),
}


@functools.cache
def get_ready(job: str) -> None:
    """Import and work out once what a job needs, before the processes that do it are forked."""
    JOBS[job].load()
    if job == STARTING:
        from kernel_sandbox.engine.preparation import prepare

        prepare()
    gc.freeze()


@functools.cache
def get_ready_for_all(_: str) -> None:
    """The same for every job."""
    for each in JOBS.values():
        each.load()
    get_ready(STARTING)


def rehearse() -> None:
    """Go through the motions of a start: a process pays for each page of memory when it first touches it."""
    from kernel_sandbox.engine.preparation import prepare

    prepare()
