"""Integration tests make real containers: when the last has ended, the machine must be as it was."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.store import Store
from support.traces import Traces
from support.waiting import wait_until


@pytest.fixture(scope="session", autouse=True)
def nothing_left(home: Store) -> Iterator[None]:
    """Fail the run when a process, mount, cgroup, socket or link outlives the containers that made it."""
    marker = str(home.home)
    before = Traces.of(marker)
    yield
    with suppress(TimeoutError):
        wait_until(lambda: not Traces.of(marker).since(before), timeout=5, interval=0.2)
    if left := Traces.of(marker).since(before):
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)
