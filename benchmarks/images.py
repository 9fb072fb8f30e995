"""`make bench-images`: how long images of some 300 MB take, beside other tools, and how much memory.

Each tool does the same work in turn, so that whatever else the machine does falls on all of them; what is made ready
before a turn is not timed. Memory is that of all our processes together, in a turn of its own.

    benchmarks/images.py [--rounds N] [--cache DIRECTORY] [OPERATION ...]

The image is made in the cache, which stays; without one it is made again each time (see ``big_image``).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from big_image import TAG, BigImage, big_image
from memory import peak_of
from run import Benchmark, Contestant, Target, measure, table, verdict
from support import peers
from support.peers import Peer, Unavailable
from support.registries import Registry, registry
from support.store import COMMAND, SCRATCH, temporary_store

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine as WarmEngine

OURS = "kernel-sandbox"
WARM = "kernel-sandbox, warm process"
ROUNDS = 5
SECONDS = 300
MEMORY = 100.0  # MiB
REPOSITORY = "bench/image"
CONTAINER = "bench-container"
CHANGE = "echo changed > /etc/motd; mkdir /srv/made; echo x > /srv/made/file"

Command = Callable[..., subprocess.CompletedProcess[Any]]


@dataclass(frozen=True)
class Engine:
    """A tool with Docker's words; ``insecure`` is what lets it talk to a registry without TLS."""

    name: str
    command: Command
    insecure: tuple[str, ...] = ()

    def do(self, *words: str | Path) -> None:
        """A command that must succeed."""
        self.command(*words, check=True, timeout=SECONDS)

    def forget(self, *names: str) -> None:
        """Remove images, which may not be there."""
        self.command("rmi", "-f", *names, timeout=SECONDS)


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes, with nothing left to write from before."""
    os.sync()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Bench:
    """The image, a registry that has it, and the engines; ``scratch`` is removed at the end."""

    def __init__(self, image: BigImage, scratch: Path, resources: ExitStack) -> None:
        self.image = image
        self.scratch = scratch
        self._resources = resources
        self.store = resources.enter_context(temporary_store())
        self.ours = Engine(OURS, partial(Peer(OURS, (COMMAND,)).cli, env=self.store.environ()))

    @cached_property
    def warm(self) -> "WarmEngine":
        """Ours in a process that has it loaded, as a notebook has."""
        from kernel_sandbox.engine import Engine

        return self._resources.enter_context(Engine.open(str(self.store.home)))

    @cached_property
    def engines(self) -> tuple[Engine, ...]:
        """Ours, and those of Docker and podman that work here."""
        found = [self.ours]
        for offer, insecure in ((peers.docker(), ()), (peers.podman(), ("--tls-verify=false",))):
            try:
                peer = self._resources.enter_context(offer)
            except Unavailable as reason:
                print(f"left out: {reason}", flush=True)
            else:
                found.append(Engine(peer.name, peer.cli, insecure))
        return tuple(found)

    @cached_property
    def registry(self) -> Registry:
        """A registry that has the image."""
        running = self._resources.enter_context(registry())
        running.push(self.image.reference, f"{REPOSITORY}:{TAG}")
        return running

    @cached_property
    def archive(self) -> Path:
        """The image as `docker save` and skopeo write it."""
        path = self.scratch / "image.tar"
        skopeo("copy", self.image.reference, f"docker-archive:{path}:{REPOSITORY}:{TAG}")
        return path

    @cached_property
    def rootfs(self) -> Path:
        """The files of the image's lower layer as one archive."""
        return self.image.layout.parent / "debian.tar"

    def have(self, engine: Engine) -> None:
        """Let the engine have the image."""
        if engine.command("image", "inspect", self.image.id).returncode:
            engine.do("load", "-i", self.archive)

    def container(self, engine: Engine) -> None:
        """Let the engine have a container of the image that has changed two files and ended."""
        self.have(engine)
        if engine.command("inspect", CONTAINER).returncode:
            engine.do("run", "--network", "none", "--name", CONTAINER, self.image.id, "sh", "-c", CHANGE)
            self._resources.callback(engine.command, "rm", "-f", CONTAINER)

    def of_each(self, operation: Callable[[Engine], float]) -> tuple[Contestant, ...]:
        """The same operation by each engine."""
        return tuple(Contestant(engine.name, partial(operation, engine)) for engine in self.engines)

    def remade(self, name: str, work: Callable[[Path], object]) -> Contestant:
        """A tool that writes to a path that must not be there."""

        def measured() -> float:
            path = self.scratch / "made"
            try:
                return seconds(lambda: work(path))
            finally:
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)

        return Contestant(name, measured)


def skopeo(*words: str) -> None:
    """Run skopeo with a policy that accepts anything."""
    command = ["skopeo", "--insecure-policy", *words]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS)


def pull(bench: Bench) -> Benchmark:
    """From a registry on loopback into an empty store."""
    name = f"{bench.registry.host}/{REPOSITORY}:{TAG}"

    def turn(engine: Engine) -> float:
        engine.forget(bench.image.id)
        return seconds(lambda: engine.do("pull", *engine.insecure, name))

    copied = bench.remade(
        "skopeo copy", lambda path: skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{path}:{TAG}")
    )
    return _beside_docker("pull", (*bench.of_each(turn), copied))


def push(bench: Bench) -> Benchmark:
    """To an empty registry on loopback."""

    def turn(engine: Engine) -> float:
        bench.have(engine)
        with registry() as target:
            name = f"{target.host}/{REPOSITORY}:{TAG}"
            engine.do("tag", bench.image.id, name)
            try:
                return seconds(lambda: engine.do("push", *engine.insecure, name))
            finally:
                engine.do("rmi", name)

    def copy() -> float:
        with registry() as target:
            name = f"docker://{target.host}/{REPOSITORY}:{TAG}"
            return seconds(lambda: skopeo("copy", "--dest-tls-verify=false", bench.image.reference, name))

    return _beside_docker("push", (*bench.of_each(turn), Contestant("skopeo copy", copy)))


def load(bench: Bench) -> Benchmark:
    """An archive of `docker save` into an empty store."""

    def turn(engine: Engine) -> float:
        engine.forget(bench.image.id)
        return seconds(lambda: engine.do("load", "-i", bench.archive))

    source = f"docker-archive:{bench.archive}"
    copied = bench.remade("skopeo copy", lambda path: skopeo("copy", source, f"oci:{path}:{TAG}"))
    return _beside_docker("load", (*bench.of_each(turn), copied))


def load_layout(bench: Bench) -> Benchmark:
    """A directory of the image-spec's layout, with its layers unpacked at the end: Docker has no word for it."""

    def ours() -> float:
        bench.ours.forget(bench.image.id)
        return seconds(lambda: bench.ours.do("load", "-i", bench.image.layout))

    def unpack(path: Path) -> None:
        command = ["umoci", "unpack", "--image", f"{bench.image.layout}:{TAG}", path]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS)

    contestants = (Contestant(OURS, ours), bench.remade("umoci unpack", unpack))
    return Benchmark("load of an OCI layout", ROUNDS, contestants, (Target(OURS, 1, "umoci unpack"),))


def save(bench: Bench) -> Benchmark:
    """Into an archive of Docker's kind."""
    path = bench.scratch / "saved.tar"

    def turn(engine: Engine) -> float:
        bench.have(engine)
        path.unlink(missing_ok=True)
        return seconds(lambda: engine.do("save", "-o", path, bench.image.id))

    copied = bench.remade("skopeo copy", lambda made: skopeo("copy", bench.image.reference, f"docker-archive:{made}"))
    return _beside_docker("save", (*bench.of_each(turn), copied))


def import_(bench: Bench) -> Benchmark:
    """The archive of a root filesystem as an image of one layer."""

    def turn(engine: Engine) -> float:
        engine.forget("imported")
        return seconds(lambda: engine.do("import", bench.rootfs, "imported"))

    return _beside_docker("import", bench.of_each(turn))


def commit(bench: Bench) -> Benchmark:
    """A container that has changed two files of the image."""

    def turn(engine: Engine) -> float:
        bench.container(engine)
        engine.forget("committed")
        return seconds(lambda: engine.do("commit", CONTAINER, "committed"))

    def warm() -> float:
        bench.container(bench.ours)
        bench.ours.forget("committed")
        return seconds(lambda: bench.warm.containers.commit(CONTAINER, "committed"))

    contestants = (*bench.of_each(turn), Contestant(WARM, warm))
    targets = (Target(OURS, 1, "docker"), Target(WARM, 0.1, "docker"))
    return Benchmark("commit of a small change", ROUNDS, contestants, targets)


def export(bench: Bench) -> Benchmark:
    """All files of a container of the image."""
    path = bench.scratch / "exported.tar"

    def turn(engine: Engine) -> float:
        bench.container(engine)
        path.unlink(missing_ok=True)
        return seconds(lambda: engine.do("export", "-o", path, CONTAINER))

    return _beside_docker("export", bench.of_each(turn))


def _beside_docker(title: str, contestants: tuple[Contestant, ...]) -> Benchmark:
    return Benchmark(title, ROUNDS, contestants, (Target(OURS, 1, "docker"),))


# Those that need an empty store come before those that keep a container.
OPERATIONS = {
    "pull": pull,
    "push": push,
    "load": load,
    "load-layout": load_layout,
    "save": save,
    "import": import_,
    "commit": commit,
    "export": export,
}


def peak(bench: Bench, benchmark: Benchmark) -> str:
    """The memory that one turn of ours takes at most, as a line."""
    turn = next(each.measure for each in benchmark.contestants if each.name == OURS)
    found = peak_of(bench.store, turn)
    return f"{'met' if found < MEMORY else 'MISSED'}: at most {found:.0f} MiB of memory, less than {MEMORY:g}"


def main(arguments: Sequence[str]) -> None:
    """Measure the operations named, or all."""
    parser = argparse.ArgumentParser(description="Time operations on a big image beside other tools.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each contestant's turn comes")
    parser.add_argument("--cache", type=Path, help="the directory that keeps the image that is made")
    parser.add_argument("operation", nargs="*", help=f"which to run, of: {', '.join(OPERATIONS)}")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.operation) - set(OPERATIONS):
        parser.error(f"no such operation: {', '.join(sorted(unknown))}")
    with ExitStack() as resources:
        scratch = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH)))
        image = big_image(asked.cache or scratch / "image")
        print(f"an image of {image.size / 1e6:.0f} MB", flush=True)
        bench = Bench(image, scratch, resources)
        for name in [name for name in OPERATIONS if name in (asked.operation or OPERATIONS)]:
            benchmark = OPERATIONS[name](bench)
            print(f"\n{benchmark.title}\n{'-' * len(benchmark.title)}", flush=True)
            times = measure(benchmark, asked.rounds)
            print(table(times))
            for target in benchmark.targets:
                print(verdict(target, times))
            with suppress(AssertionError):
                print(peak(bench, benchmark), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
