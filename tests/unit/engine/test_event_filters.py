"""Docker's filters of events."""

import pytest

from kernel_sandbox.engine.events import is_meant
from kernel_sandbox.spec.filters import Filters, parse
from kernel_sandbox.storage.events import Event

STARTED = Event(1, 0, "container", "start", "abcdef", {"name": "web", "image": "busybox:latest", "colour": "red"})
CHECKED = Event(2, 0, "container", "health_status: healthy", "abcdef", {"name": "web", "image": "busybox"})
TAGGED = Event(3, 0, "image", "tag", "sha256:123", {"name": "localhost:5000/app:1"})
MADE = Event(4, 0, "volume", "create", "data", {"driver": "local"})


def chosen(*texts: str) -> list[int]:
    wanted = Filters.of(map(parse, texts))
    return [event.id for event in (STARTED, CHECKED, TAGGED, MADE) if is_meant(event, wanted)]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ((), [1, 2, 3, 4]),
        (("type=container",), [1, 2]),
        (("type=image", "type=volume"), [3, 4]),
        (("event=start",), [1]),
        (("event=health_status",), [2]),
        (("event=health_status: healthy",), [2]),
        (("event=health_status: unhealthy",), []),
        (("container=web",), [1, 2]),
        (("container=abc",), [1, 2]),
        (("container=data",), [4]),
        (("image=busybox",), [1, 2]),
        (("image=busybox:latest",), [1]),
        (("image=localhost:5000/app",), [3]),
        (("label=colour",), [1]),
        (("label=colour=blue",), []),
        (("volume=data", "event=create"), [4]),
        (("nonsense=1",), [1, 2, 3, 4]),
    ],
)
def test_events_are_chosen_as_docker_chooses_them(filters: tuple[str, ...], ids: list[int]) -> None:
    assert chosen(*filters) == ids
