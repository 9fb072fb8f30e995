"""What runs in processes of its own: all that touches layers, takes a container's lock, or stays with a container.

A job gets its argument as a msgpack document and answers with one. Layers are touched as root among their owners
(``runtime.ids``), so the same functions serve root and an ordinary user. Here is where each is; it is imported when it
is first asked for.
"""

from __future__ import annotations

import functools
import gc

from kernel_sandbox.runtime.launcher import Job

JOBS = {
    "supervise": Job("kernel_sandbox.engine.supervisor:supervise", inside_store_namespace=False),
    "remove": Job("kernel_sandbox.engine.container_jobs:remove", inside_store_namespace=False),
    "mend": Job("kernel_sandbox.engine.container_jobs:mend", inside_store_namespace=False),
    "ingest": Job("kernel_sandbox.engine.layer_jobs:ingest", ends_with_client=True),
    "load": Job("kernel_sandbox.engine.archive_jobs:load", ends_with_client=True),
    "unpack": Job("kernel_sandbox.engine.layer_jobs:unpack", ends_with_client=True),
    "pack_diff": Job("kernel_sandbox.engine.layer_jobs:pack_diff", ends_with_client=True),
    "pack_rootfs": Job("kernel_sandbox.engine.layer_jobs:pack_rootfs"),
    "diff": Job("kernel_sandbox.engine.layer_jobs:diff"),
    "copy_out": Job("kernel_sandbox.engine.copy_jobs:copy_out", inside_store_namespace=False),
    "copy_in": Job("kernel_sandbox.engine.copy_jobs:copy_in", inside_store_namespace=False),
    "bootstrap": Job("kernel_sandbox.engine.layer_jobs:bootstrap"),
    "remove_trees": Job("kernel_sandbox.engine.layer_jobs:remove_trees"),
    "measure_trees": Job("kernel_sandbox.engine.layer_jobs:measure_trees"),
}


@functools.cache
def get_ready() -> None:
    """Import and work out once what every start of a container needs, before the processes that do it are forked."""
    from kernel_sandbox.engine.supervisor import prepare

    prepare()
    gc.freeze()


@functools.cache
def get_ready_for_all() -> None:
    """The same for every job."""
    for each in JOBS.values():
        each.load()
    get_ready()
