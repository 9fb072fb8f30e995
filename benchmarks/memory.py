"""What many running containers take: the memory of their monitors, and the time to start and to remove them.

benchmarks/memory.py [N ...]
"""

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.containers import parent
from support.store import BUSYBOX, temporary_store

SIZES = (50, 500)


def proportional_set_size(pid: int) -> int:
    """KiB (proc_pid_smaps(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(count: int) -> None:
    """Start so many containers, look at their monitors, and remove them."""
    from kernel_sandbox.engine import Engine
    from kernel_sandbox.spec.options import ContainerOptions

    with Engine.open() as engine:
        containers = engine.containers
        options = ContainerOptions(image=BUSYBOX, command=("sleep", "100000"))
        begun = time.monotonic()
        ids = [containers.create(options).id for _ in range(count)]
        for id_ in ids:
            containers.start(id_).close()
        started = time.monotonic()
        monitors = [parent(containers.find(id_).pid) for id_ in ids]
        sizes = [proportional_set_size(pid) / 1024 for pid in monitors]
        listing = time.monotonic()
        listed = len(containers.list())
        removing = time.monotonic()
        for id_ in ids:
            containers.remove(id_, force=True)
        done = time.monotonic()
    print(
        f"{count} containers: started in {started - begun:.1f} s; {listed} run; monitors take "
        f"{statistics.median(sizes):.1f} MiB each (largest {max(sizes):.1f}), {sum(sizes):.0f} MiB in all; "
        f"listed in {(removing - listing) * 1000:.0f} ms; removed in {done - removing:.1f} s",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    """Measure each of the sizes."""
    with temporary_store() as store:
        os.environ["KERNEL_SANDBOX_HOME"] = str(store.home)
        store.bootstrap(BUSYBOX)
        for count in map(int, arguments or SIZES):
            measure(count)


if __name__ == "__main__":
    main(sys.argv[1:])
