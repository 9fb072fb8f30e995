"""Every pair of commands at once on one container: each succeeds or says one line, and the state is true after.

Every fifth pair is tried; all of them with ``KS_EVERY_STEP=1`` in the environment.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator

import pytest
from support.containers import IS_ROOT, is_alive
from support.waiting import wait_until

from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import NotFound
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage.state import Status

pytestmark = pytest.mark.same_for_every_user

COMMANDS = (
    "start {}", "stop -t 0 {}", "restart -t 0 {}", "kill {}", "pause {}", "unpause {}", "rename {} {}-renamed",
    "update --restart no {}", "rm {}", "rm -f {}", "exec {} true", "commit {}", "cp {}:/etc/hostname -", "diff {}",
    "logs {}", "inspect {}",
)  # fmt: skip
STRIDE = 1 if os.environ.get("KS_EVERY_STEP") else 5
PAIRS = tuple(itertools.combinations_with_replacement(COMMANDS, 2))


@pytest.fixture(scope="module")
def engine(shared_store) -> Iterator[Engine]:
    with Engine.open(str(shared_store.home)) as engine:
        yield engine


def settled(stderr: bytes, command: str) -> None:
    """One line at most, and no traceback."""
    text = stderr.decode()
    assert "Traceback" not in text, f"{command}: {text}"
    assert "internal error" not in text, f"{command}: {text}"
    assert len(text.splitlines()) <= 1, f"{command}: {text}"


def is_consistent(engine: Engine, id_: str) -> bool:
    """Whether what is recorded of a container is so."""
    try:
        found = engine.containers.find(id_)
    except NotFound:
        return not _has_files(engine, id_)
    running = found.status in (Status.RUNNING, Status.PAUSED)
    return running == bool(found.pid and is_alive(found.pid))


def _has_files(engine: Engine, id_: str) -> bool:
    return os.path.exists(engine.paths.container(id_).home)


@pytest.mark.parametrize("first", COMMANDS)
def test_two_commands_at_once(shared_store, engine, name, first):
    pairs = [pair for pair in PAIRS if pair[0] == first]
    for number, pair in enumerate(pairs[:: STRIDE if IS_ROOT else 6]):
        own = f"{name}-{number}"
        id_ = engine.containers.create(ContainerOptions(image="busybox", command=("sleep", "1000"), name=own)).id
        engine.containers.start(id_).close()
        try:
            lines = [command.replace("{}", own) for command in pair]
            processes = [shared_store.start(*line.split()) for line in lines]
            for line, process in zip(lines, processes, strict=True):
                _, stderr = process.communicate(timeout=60)
                settled(stderr, f"{line}, in {lines}")
            wait_until(lambda id_=id_: is_consistent(engine, id_))
        finally:
            with contextlib.suppress(NotFound):
                engine.containers.remove(id_, force=True)
        assert not _has_files(engine, id_), pair
