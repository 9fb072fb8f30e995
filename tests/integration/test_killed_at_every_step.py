"""SIGKILL at one step after the other of a command, to each of its processes: the next command mends it.

strace(1) kills each process of the command at its n-th system call of those that change something. A few steps are
tried; all of them with ``KS_EVERY_STEP=1`` in the environment.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adversary import adversary
from support.archives import docker_files, packed
from support.blobs import remote_image
from support.containers import IS_ROOT, is_alive
from support.store import COMMAND, Store
from support.tar_files import Entry, directory, link, members, tar_of
from support.waiting import unavailable, wait_until

from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import NotFound
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage.state import Status

CALLS = ",".join((
    "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "symlinkat",
    "clone", "clone3",
    "mount", "move_mount", "fsmount", "open_tree", "pivot_root", "setns", "unshare", "ftruncate", "pwrite64", "write",
    "fdatasync", "fsync", "sendto", "sendmsg", "fchmod", "chmod", "execve", "bind", "flock",
))  # fmt: skip
SOME = (1, 4, 11, 24, 50)
HALVES = {"import": (30,), "load": (30,), "rmi": (5,), "pull": (12, 40)}
LAST = 400
ALL = bool(os.environ.get("KS_EVERY_STEP"))


@pytest.fixture(scope="module")
def engine(shared_store) -> Iterator[Engine]:
    if shutil.which("strace") is None:
        unavailable("not installed: strace")
    with Engine.open(str(shared_store.home)) as engine:
        yield engine


def run_killed(environ: dict[str, str], step: int, *arguments: str, calls: str = CALLS) -> int:
    """The command's status, with each of its processes killed at that step."""
    inject = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={step}")
    with subprocess.Popen(
        ["strace", "-f", "-qqq", "-o", "/dev/null", *inject, COMMAND, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ,
    ) as process:  # fmt: skip
        try:
            return process.wait(3)
        except subprocess.TimeoutExpired:  # it follows a monitor that goes on
            process.kill()
            return process.wait(10)


def steps() -> Iterator[int]:
    yield from (range(1, LAST) if ALL else SOME)


def made(engine: Engine, name: str, *, started: bool) -> str:
    """A container that has written something, or has not been started yet."""
    script = "echo hi > /file"
    id_ = engine.containers.create(ContainerOptions(image="busybox", command=("sh", "-c", script), name=name)).id
    if started:
        with engine.containers.start(id_, foreground=True) as attachment:
            attachment.end()
    return id_


def check_mended(engine: Engine, name: str) -> None:
    """Whatever there is of the container is listed truly, and goes without a trace."""
    engine.images.list()
    found = [each for each in engine.containers.list(all_=True) if each.name == name]
    for container in found:
        running = container.status is Status.RUNNING
        assert running == bool(container.pid and is_alive(container.pid))
        engine.containers.remove(container.id, force=True)
        assert not os.path.exists(engine.paths.container(container.id).home)
    with pytest.raises(NotFound):
        engine.containers.find(name)
    id_ = made(engine, name, started=True)
    assert engine.containers.find(id_).exit_code == 0
    engine.containers.remove(id_)


@pytest.mark.timeout(3600 if ALL else 240)
@pytest.mark.skipif(not IS_ROOT, reason="the ids of a program that strace follows cannot be mapped by newuidmap")
@pytest.mark.parametrize("command", ["create", "start", "run", "rm", "commit", "exec"])
def test_it_is_mended(shared_store, engine, name, command):
    before = {image.id for image in engine.images.list()}
    for step in steps():
        arguments: tuple[str, ...]
        if command == "create":
            arguments = ("create", "--name", name, "busybox", "true")
        elif command == "run":
            arguments = ("run", "-d", "--name", name, "busybox", "sleep", "1000")
        else:
            id_ = made(engine, name, started=command != "start")
            arguments = (command, id_)
            if command == "exec":
                engine.containers.remove(id_)
                running = ContainerOptions(image="busybox", command=("sleep", "1000"), name=name)
                id_ = engine.containers.create(running).id
                engine.containers.start(id_).close()
                arguments = ("exec", id_, "true")
        status = run_killed(shared_store.environ(), step, *arguments)
        wait_until(lambda: not _monitors_of_nothing(engine, name))
        check_mended(engine, name)
        for image in engine.images.list():
            if image.id not in before:
                with contextlib.suppress(NotFound):
                    engine.images.remove(image.id, force=True)
        if status == 0 and step > max(SOME):
            break


LAYERED = remote_image([Entry("below")], [directory("d"), Entry("d/file")])
ARCHIVES = {
    "import": lambda: tar_of([directory("d"), Entry("d/file", content="x" * 3000), link("d/link", "file")]),
    "load": lambda: packed(docker_files(LAYERED, "killed:1")),
}
ARCHIVES["rmi"] = ARCHIVES["load"]
REMOVALS = "unlink,unlinkat,rmdir,rename"


@pytest.mark.timeout(3600 if ALL else 240)
@pytest.mark.skipif(not IS_ROOT, reason="the ids of a program that strace follows cannot be mapped by newuidmap")
@pytest.mark.parametrize("command", ARCHIVES)
def test_no_half_of_an_image_is_believed(store, tmp_path, command):
    archive = tmp_path / "archive.tar"
    archive.write_bytes(ARCHIVES[command]())
    adding = ("import", str(archive), "killed:1") if command == "import" else ("load", "-i", str(archive))
    removing = command == "rmi"
    store.cli("images", check=True)
    for step in range(1, LAST) if ALL else HALVES[command]:
        if removing:
            store.cli(*adding, check=True)
            status = run_killed(store.environ(), step, "rmi", "killed:1", calls=REMOVALS)
        else:
            status = run_killed(store.environ(), step, *adding)
        store.cli(*adding, check=True)
        id_ = store.cli("create", "killed:1", "true", check=True).stdout.strip()
        exported = store.cli("export", id_, text=False, check=True).stdout
        assert {"d", "d/file"} <= members(exported).keys()
        store.cli("rm", id_, check=True)
        store.cli("rmi", *store.cli("images", "-aq", check=True).stdout.split(), check=True)
        assert leftovers(store) == [], f"after step {step}"
        if status == 0 and step > max(HALVES[command]):
            break


@pytest.mark.timeout(3600 if ALL else 240)
@pytest.mark.skipif(not IS_ROOT, reason="the ids of a program that strace follows cannot be mapped by newuidmap")
def test_no_half_of_what_is_pulled_is_believed(store):
    store.cli("images", check=True)
    with adversary() as remote:
        name = remote.put(LAYERED, "killed", "1")
        for step in range(1, LAST) if ALL else HALVES["pull"]:
            status = run_killed(store.environ(), step, "pull", name)
            store.cli("pull", name, check=True)
            id_ = store.cli("create", name, "true", check=True).stdout.strip()
            exported = store.cli("export", id_, text=False, check=True).stdout
            assert {"below", "d", "d/file"} <= members(exported).keys()
            store.cli("rm", id_, check=True)
            store.cli("rmi", name, check=True)
            assert leftovers(store) == [], f"after step {step}"
            if status == 0 and step > max(HALVES["pull"]):
                break


def leftovers(store: Store) -> list[Path]:
    """What there is of images in a store that has none."""
    places = ("layers", "staging", "oci/blobs/sha256", "adding")
    return [path for place in places for path in (store.home / place).glob("*")]


def _monitors_of_nothing(engine: Engine, name: str) -> bool:
    """Whether a container is said to run whose process has ended, for the moment until its end is recorded."""
    return any(
        each.status is Status.RUNNING and each.pid and not is_alive(each.pid)
        for each in engine.containers.list()
        if each.name == name
    )
