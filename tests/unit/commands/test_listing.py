"""What ``ps`` says of a container's state."""

from typing import Any

import pytest

from kernel_sandbox.commands.listing import shortened, status
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.health import Health
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage.state import Container, Status

SECOND = 10**9
NOW = 1000 * SECOND


def container(state: Status, **values: Any) -> Container:
    image = Digest("sha256:" + "0" * 64)
    return Container("a" * 64, "name", image, 0, 0, ContainerOptions("busybox"), state, **values)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (container(Status.CREATED), "Created"),
        (container(Status.RUNNING, started=NOW - 5 * SECOND), "Up 5 seconds"),
        (container(Status.PAUSED, started=NOW - 120 * SECOND), "Up 2 minutes (Paused)"),
        (container(Status.RUNNING, started=NOW, health=Health()), "Up Less than a second (health: starting)"),
        (container(Status.RUNNING, started=NOW - 5 * SECOND, health=Health("healthy")), "Up 5 seconds (healthy)"),
        (container(Status.RUNNING, started=NOW - SECOND, health=Health("unhealthy")), "Up 1 second (unhealthy)"),
        (container(Status.RESTARTING, exit_code=1, finished=NOW - 3 * SECOND), "Restarting (1) 3 seconds ago"),
        (container(Status.EXITED, exit_code=137, finished=NOW - 7200 * SECOND), "Exited (137) 2 hours ago"),
    ],
)
def test_a_state_is_told_as_docker_tells_it(found: Container, said: str) -> None:
    assert status(found, NOW) == said


def test_a_long_text_ends_in_an_ellipsis() -> None:
    assert shortened("sleep 100", 20) == "sleep 100"
    assert shortened("x" * 21, 20) == "x" * 19 + "…"
