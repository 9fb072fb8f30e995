"""Integration tests make real containers: when the last has ended, the machine must be as it was."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.adversary import Adversary, adversary
from support.client import Client, client_of
from support.store import Store, temporary_store
from support.traces import Traces
from support.waiting import wait_until


@pytest.fixture(scope="session", autouse=True)
def nothing_left(home: Store) -> Iterator[None]:
    """Fail the run when a process, mount, cgroup, socket or link outlives the containers that made it."""
    marker = str(home.home)
    before = Traces.of(marker)
    yield
    with suppress(TimeoutError):
        wait_until(lambda: not Traces.of(marker).since(before), interval=0.2)
    if left := Traces.of(marker).since(before):
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="module")
def one_client() -> Iterator[Client]:
    """A store of the module's own, in this process."""
    with temporary_store() as store, client_of(store) as opened:
        yield opened


@pytest.fixture
def client(one_client: Client) -> Iterator[Client]:
    """The module's store, with settings of registries and logins of the test's own."""
    yield one_client
    one_client.unconfigure()


@pytest.fixture
def bench() -> Iterator[Adversary]:
    """A registry in plain HTTP on loopback, which needs no configuration and does as it is told."""
    with adversary() as running:
        yield running
