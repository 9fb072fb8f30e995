"""`make bench`: how long the engine takes, beside other engines, on this machine, in one run.

A benchmark is one function of a ``Lab`` that returns its contestants and its targets; list it in
``BENCHMARKS``. Contestants take turns, so that whatever else the machine does falls on all of them.

    benchmarks/run.py [--rounds N] [NAME ...]
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_client.manager import KernelManager

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support import peers
from support.peers import Peer, Runtime, Unavailable
from support.store import BUSYBOX, COMMAND, Store, temporary_store

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine

_MANY = 200
WARM, COLD = "kernel-sandbox, warm process", "kernel-sandbox, command line"
PLAIN_KERNEL, SANDBOX_KERNEL = "python3", "python3-sandbox"


@dataclass(frozen=True)
class Contestant:
    """One way to do the work; ``measure`` does it once, returns the seconds, and raises when it fails."""

    name: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class Target:
    """``name`` shall take at most ``limit`` times what ``beside`` takes; beside nothing, ``limit`` ms."""

    name: str
    limit: float
    beside: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """What is compared; the other contestants' times are divided by the first one's."""

    title: str
    rounds: int
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...]


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Measure the whole of ``work``."""

    def measure() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measure


class Lab:
    """A store with the embedded images, and the other engines, started when a benchmark first asks."""

    def __init__(self, store: Store, resources: ExitStack) -> None:
        self._store = store
        self._resources = resources

    def command(self, *args: str) -> Callable[[], object]:
        """`kernel-sandbox ARGS`, started cold."""
        return partial(
            subprocess.run,
            [COMMAND, *args],
            check=True,
            env=self._store.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

    @cached_property
    def warm(self) -> "Engine":
        """The engine in a process that has it loaded, as a notebook has."""
        from kernel_sandbox.engine import Engine

        return self._resources.enter_context(Engine.open())

    def run_true(self) -> None:
        """`run --rm --network none busybox true`, warm."""
        from kernel_sandbox.spec.options import ContainerOptions

        self.warm.containers.run(ContainerOptions(image=BUSYBOX, command=("true",), remove=True))

    def running(self, *command: str, init: bool = False) -> str:
        """The id of a warm container that runs until the benchmark ends."""
        from kernel_sandbox.spec.options import ContainerOptions

        containers = self.warm.containers
        id_ = containers.create(ContainerOptions(image=BUSYBOX, command=command, init=init)).id
        containers.start(id_).close()
        self._resources.callback(containers.remove, id_, force=True)
        return id_

    def at_end(self, work: Callable[..., object], *arguments: object) -> None:
        """Call this when all benchmarks are done."""
        self._resources.callback(work, *arguments)

    @cached_property
    def daemons(self) -> tuple[Peer, ...]:
        """Those of the other engines that keep containers: Docker and podman."""
        return tuple(engine for engine in self.engines if engine.name in ("docker", "podman"))

    @cached_property
    def engines(self) -> tuple[Peer, ...]:
        """The other engines that work here, each with busybox ready to run `true`."""
        offered = (
            peers.docker(),
            peers.podman(),
            peers.runtime("crun"),
            peers.runtime("runc"),
            peers.bubblewrap(),
        )
        found = []
        for offer in offered:
            try:
                found.append(self._resources.enter_context(offer))
            except Unavailable as reason:
                print(f"left out: {reason}", flush=True)
        for engine in found:
            if isinstance(engine, Runtime):
                engine.configure("true")
        return tuple(found)


def run_true(lab: Lab) -> Benchmark:
    """One container that does nothing, from a warm process and from a cold command line."""
    return Benchmark(
        "run --rm --network none busybox true",
        30,
        (
            Contestant(WARM, timed(lab.run_true)),
            Contestant(COLD, timed(lab.command("run", "--rm", "--network", "none", BUSYBOX, "true"))),
            *(Contestant(engine.name, timed(engine.run_true)) for engine in lab.engines),
        ),
        (Target(WARM, 0.1, "docker"), Target(WARM, 3, "crun"), Target(COLD, 0.6, "docker")),
    )


def exec_true(lab: Lab) -> Benchmark:
    """One more process in a container that runs, to its end."""
    from kernel_sandbox.spec.execution import ExecOptions

    own = lab.running("sleep", "1000")

    def execute() -> None:
        with lab.warm.containers.execute(own, ExecOptions(("true",))) as attachment:
            attachment.end()

    for engine in lab.daemons:
        engine.cli("run", "-d", "--network", "none", "--name", "bench-exec", "busybox", "sleep", "1000", check=True)
    return Benchmark(
        "exec CONTAINER true",
        30,
        (
            Contestant(WARM, timed(execute)),
            Contestant(COLD, timed(lab.command("exec", own, "true"))),
            *(_of(engine, "exec", "bench-exec", "true") for engine in lab.daemons),
        ),
        (Target(WARM, 0.1, "docker"),),
    )


def start_stop(lab: Lab) -> Benchmark:
    """A container that ends when it is asked to, from the first moment on: started, and stopped."""
    own = lab.running("sleep", "1000", init=True)

    def restart() -> None:
        lab.warm.containers.start(own).close()
        lab.warm.containers.stop(own)

    lab.warm.containers.stop(own)
    for engine in lab.daemons:
        engine.cli(
            "create", "--network", "none", "--init", "--name", "bench-stop", "busybox", "sleep", "1000", check=True
        )

    def both(engine: Peer) -> None:
        engine.cli("start", "bench-stop", check=True)
        engine.cli("stop", "bench-stop", check=True)

    return Benchmark(
        "start and stop",
        15,
        (
            Contestant(WARM, timed(restart)),
            *(Contestant(engine.name, timed(partial(both, engine))) for engine in lab.daemons),
        ),
        (Target(WARM, 0.2, "docker"),),
    )


def list_many(lab: Lab) -> Benchmark:
    """`ps -a` with 200 containers."""
    from kernel_sandbox.commands import Context, invoke
    from kernel_sandbox.spec.options import ContainerOptions

    containers = lab.warm.containers
    for _ in range(_MANY):
        id_ = containers.create(ContainerOptions(image=BUSYBOX, command=("true",))).id
        lab.at_end(containers.remove, id_)
    for engine in lab.daemons:
        for _ in range(_MANY):
            engine.cli("create", "--network", "none", "busybox", "true", check=True)
    return Benchmark(
        f"ps -a with {_MANY} containers",
        20,
        (
            Contestant(WARM, timed(lambda: invoke(("ps", "-a"), Context(lambda: lab.warm)).text())),
            Contestant(COLD, timed(lab.command("ps", "-a"))),
            *(_of(engine, "ps", "-a") for engine in lab.daemons),
        ),
        (Target(WARM, 1, "docker"),),
    )


def _of(engine: Peer, *arguments: str) -> Contestant:
    """Another engine's command."""
    return Contestant(engine.name, timed(lambda: engine.cli(*arguments, check=True)))


def cold_commands(lab: Lab) -> Benchmark:
    """Commands that start no container: what the imports cost; beside Python's own start, and docker's client."""
    lines = ("--help", "ps", "images", f"inspect {BUSYBOX}", f"history {BUSYBOX}", f"tag {BUSYBOX} cold:1")
    own = tuple(Contestant(f"kernel-sandbox {line}", timed(lab.command(*line.split()))) for line in lines)
    docker = (
        Contestant(f"docker {line}", timed(partial(engine.cli, *line.split(), check=True)))
        for engine in lab.daemons
        if engine.name == "docker"
        for line in lines
    )
    python = Contestant("python -c pass", timed(partial(subprocess.run, [sys.executable, "-c", "pass"], check=True)))
    return Benchmark(
        "the command line, cold",
        30,
        (python, *own, *docker),
        tuple(Target(each.name, 6, python.name) for each in own),
    )


def kernel_ready(_: Lab) -> Benchmark:
    """From starting a kernel to its first answer; shutting it down is not counted."""

    def seconds(kernel: str) -> float:
        manager = KernelManager(kernel_name=kernel)
        start = time.perf_counter()
        manager.start_kernel(stderr=subprocess.DEVNULL)
        client = manager.client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=60)
            return time.perf_counter() - start
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    return Benchmark(
        "a kernel, from start to ready",
        10,
        tuple(Contestant(kernel, partial(seconds, kernel)) for kernel in (SANDBOX_KERNEL, PLAIN_KERNEL)),
        (Target(SANDBOX_KERNEL, 1.5, PLAIN_KERNEL),),
    )


BENCHMARKS = (run_true, exec_true, start_stop, list_many, cold_commands, kernel_ready)


def measure(benchmark: Benchmark, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each contestant in each round; one that fails the untimed first round is left out."""
    taking_part = []
    for contestant in benchmark.contestants:
        try:
            contestant.measure()
            taking_part.append(contestant)
        except Exception as error:  # whatever another engine may raise, the others still run
            complaint = getattr(error, "stderr", None) or error
            print(f"left out: {contestant.name}: {complaint!r}", flush=True)
    times: dict[str, list[float]] = {contestant.name: [] for contestant in taking_part}
    for _ in range(rounds):
        for contestant in taking_part:
            times[contestant.name].append(contestant.measure() * 1000)
    return times


def table(times: dict[str, list[float]]) -> str:
    """Name, median, 90th percentile, and the median divided by the first one's."""
    width = max(map(len, times), default=0)
    medians = {name: statistics.median(each) for name, each in times.items()}
    first = next(iter(medians.values()), 1.0)
    rows = [f"{'':{width}}  {'median ms':>10}  {'p90 ms':>8}  {'ratio':>7}"]
    for name, each in times.items():
        p90 = sorted(each)[math.ceil(len(each) * 0.9) - 1]
        rows.append(f"{name:{width}}  {medians[name]:10.1f}  {p90:8.1f}  {medians[name] / first:7.2f}")
    return "\n".join(rows)


def verdict(target: Target, times: dict[str, list[float]]) -> str:
    """One line that says whether the target is met, and by how much."""
    if missing := [name for name in (target.name, target.beside) if name and name not in times]:
        return f"not known: {target.name} (left out: {', '.join(missing)})"
    found = statistics.median(times[target.name])
    unit = "ms"
    if target.beside:
        found /= statistics.median(times[target.beside])
        unit = f"of {target.beside}"
    met = "met" if found <= target.limit else "MISSED"
    return f"{met}: {target.name} takes {found:.3g} {unit}, at most {target.limit:g}"


def main(arguments: Sequence[str]) -> None:
    """Run the benchmarks named, or all."""
    names = {benchmark.__name__: benchmark for benchmark in BENCHMARKS}
    parser = argparse.ArgumentParser(description="Time the engine beside others, on this machine.")
    parser.add_argument("--rounds", type=int, help="how often each contestant's turn comes")
    parser.add_argument("name", nargs="*", help=f"which to run, of: {', '.join(names)}")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.name) - set(names):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    with temporary_store() as store, ExitStack() as resources:
        # The warm engine and the kernels' provisioner read it in this process.
        os.environ["KERNEL_SANDBOX_HOME"] = str(store.home)
        store.bootstrap()
        store.bootstrap(BUSYBOX)
        lab = Lab(store, resources)
        for name in asked.name or names:
            benchmark = names[name](lab)
            print(f"\n{benchmark.title}\n{'-' * len(benchmark.title)}", flush=True)
            times = measure(benchmark, asked.rounds or benchmark.rounds)
            print(table(times))
            for target in benchmark.targets:
                print(verdict(target, times))


if __name__ == "__main__":
    main(sys.argv[1:])
