"""What many running containers take: the memory of their monitors, and the time to start and to remove them.

benchmarks/memory.py [N ...]
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.containers import parent
from support.store import BUSYBOX, Store, temporary_store

SIZES = (50, 500)


def proportional_set_size(pid: int) -> int:
    """KiB (proc_pid_smaps(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def processes_of(store: Store) -> list[int]:
    """The processes that have the store in their environment, except this one."""
    wanted = f"KERNEL_SANDBOX_HOME={store.home}".encode()
    found = []
    for entry in os.scandir("/proc"):
        with suppress(OSError):
            if entry.name.isdigit() and wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def peak_of(store: Store, work: Callable[[], object]) -> float:
    """The most memory, in MiB, that all processes of the store had at one time while ``work`` went on.

    It is looked at fifty times a second: a shorter peak may be missed.
    """
    done, peak = threading.Event(), 0

    def look() -> None:
        nonlocal peak
        while not done.wait(0.02):
            total = 0
            for pid in processes_of(store):
                with suppress(OSError, StopIteration):
                    total += proportional_set_size(pid)
            peak = max(peak, total)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak / 1024


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
