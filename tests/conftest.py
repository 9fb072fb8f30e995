"""Fixtures of every kind of test: stores, the command line, names that clean up after themselves.

Nothing here touches the user's own store: ``KERNEL_SANDBOX_HOME`` points into a temporary directory from
the first test to the last.
"""

import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from support.store import BUSYBOX, PYTHON, Store, temporary_store
from support.waiting import unavailable


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Store]:
    """The session's own store, still without images; in-process code finds it in the environment."""
    with temporary_store() as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNEL_SANDBOX_HOME", str(store.home))
        yield store


@pytest.fixture(autouse=True)
def no_container_left(home: Store) -> Iterator[None]:
    """Each test removes the containers that it made in the session's store; one that does not fails."""
    before = home.containers()
    yield
    left = home.containers() - before
    for container in left:
        home.cli("rm", "-f", container)
    assert not left, "the test has left containers in the session's store"


@pytest.fixture(scope="session")
def shared_store(home: Store) -> Store:
    """The session's store with the busybox image. Use a ``name`` in it, and leave it as you found it."""
    made = home.cli("bootstrap", BUSYBOX, timeout=110)
    if made.returncode:
        unavailable(made.stderr.strip())
    return home


@pytest.fixture(scope="session")
def python_image(shared_store: Store) -> str:
    """The reference of the embedded Python image, made in the shared store once."""
    shared_store.bootstrap()
    return PYTHON


@pytest.fixture
def store() -> Iterator[Store]:
    """A store of the test's own, empty, for tests that break things; removed afterwards."""
    with temporary_store() as own:
        yield own


@pytest.fixture
def cli(shared_store: Store) -> Callable[..., object]:
    """``cli("run", "--rm", "busybox", "true")`` on the shared store: see ``Store.cli``."""
    return shared_store.cli


@pytest.fixture
def name(request: pytest.FixtureRequest, shared_store: Store) -> Iterator[str]:
    """A container name nobody else has; the container, if the test left one, is removed by force."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:30]
    unique = f"{stem}-{uuid.uuid4().hex[:8]}"
    yield unique
    if shared_store.has_container(unique):
        shared_store.cli("rm", "-f", unique)
