"""Docker's filters of containers: from ``--filter`` to a test that a container passes or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from kernel_sandbox.errors import NotFound, SandboxError, UsageError
from kernel_sandbox.spec import ports
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.health import HEALTHY, STARTING, UNHEALTHY
from kernel_sandbox.spec.resolver import parse_exposed
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.state import Container, Status

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

Test = Callable[[Container], bool]
_NAMES = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
_NO_HEALTH = "none"
_HEALTHS = (_NO_HEALTH, STARTING, HEALTHY, UNHEALTHY)
_STATES = (*Status, "removing", "dead")


class Images(Protocol):
    """What filters ask about images."""

    images: Mapping[str, Image]

    def labels(self, container: Container) -> Mapping[str, str]:
        """The container's labels, those of its image among them."""


def selector(engine: Engine, filters: Filters, images: Images) -> Test:
    """Whether a container passes all filters. Raises SandboxError for an unknown one, or a wrong value."""
    filters.check(*_NAMES)
    tests = (
        *_of_identity(engine, filters, images),
        *_of_state(filters),
        *_of_age(engine, filters),
        *_of_ports(engine, filters),
    )
    return lambda container: all(test(container) for test in tests)


def _of_identity(engine: Engine, filters: Filters, images: Images) -> Iterator[Test]:
    if filters["id"]:
        yield lambda each: filters.matches("id", each.id)
    if filters["name"]:
        yield lambda each: filters.matches("name", f"/{each.name}", each.name)
    if filters["label"]:
        yield lambda each: filters.fits_labels(images.labels(each))
    if filters["network"]:
        yield lambda each: not each.options.sharing.network and filters.allows("network", str(each.options.network))
    if filters["volume"]:
        yield lambda each: filters.allows("volume", *_mounted(each))
    if filters["ancestor"]:
        descendants = {id_ for name in filters["ancestor"] for id_ in _descendants(engine, name, images.images)}
        yield lambda each: each.image in descendants


def _mounted(container: Container) -> Iterator[str]:
    """Volumes' names, the host's paths, and where either are seen."""
    for bind in container.options.binds:
        yield from (bind.source, bind.target)
    for volume in container.options.volumes:
        yield from (volume.name, volume.target)


def _descendants(engine: Engine, name: str, images: Mapping[str, Image]) -> Iterator[str]:
    """The ids of an image and of those that have been made on top of it; none where there is no such image."""
    try:
        ancestor = engine.images.find(name)
    except (NotFound, UsageError):
        return
    depth = len(ancestor.layers)
    for image in images.values():
        is_later = len(image.layers) > depth or image.created > ancestor.created
        if image.id == ancestor.id or (is_later and image.layers[:depth] == ancestor.layers):
            yield image.id


def _of_state(filters: Filters) -> Iterator[Test]:
    for state in filters["status"]:
        if state not in _STATES:
            raise SandboxError(f"Invalid filter 'status={state}'")
    for health in filters["health"]:
        if health not in _HEALTHS:
            raise SandboxError(f"Unrecognised filter value for health: {health}")
    if filters["status"]:
        yield lambda each: filters.allows("status", each.status)
    if filters["health"]:
        yield lambda each: filters.allows("health", each.health.status if each.health else _NO_HEALTH)
    if filters["exited"]:
        codes = tuple(map(_exit_code, filters["exited"]))
        yield lambda each: each.started > 0 and not each.is_active and each.exit_code in codes


def _exit_code(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise SandboxError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _of_age(engine: Engine, filters: Filters) -> Iterator[Test]:
    """Older or newer than another container."""
    if filters["before"]:
        youngest = _known(engine, filters["before"][-1]).created
        yield lambda each: each.created < youngest
    if filters["since"]:
        oldest = _known(engine, filters["since"][-1]).created
        yield lambda each: each.created > oldest


def _known(engine: Engine, key: str) -> Container:
    try:
        return engine.containers.find(key)
    except NotFound:
        raise NotFound(f"no such container {key}") from None


def _of_ports(engine: Engine, filters: Filters) -> Iterator[Test]:
    """Those that tell of a port. None is published here, and no container is a service's task."""
    for name in ("publish", "expose"):
        for text in filters[name]:
            ports.check_filter(name, text)
    if filters["publish"] or filters.flag("is-task"):
        yield lambda _: False
    if filters["expose"]:
        wanted = {port for text in filters["expose"] for port in parse_exposed(text)}
        yield lambda each: not wanted.isdisjoint(engine.containers.config(each).exposed_ports)
