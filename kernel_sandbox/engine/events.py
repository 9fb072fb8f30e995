"""``events``: what happens in a store, as it happens, and Docker's filters of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.events import Event

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

_PAUSE = 0.1
_SECOND = 10**9
_FOLDED = ("exec_create", "exec_start", "health_status")
"""Actions that are told with what was done, after a colon, and are meant without it, too."""


def happening(engine: Engine, since: int | None, until: int | None, filters: Filters) -> Iterator[Event]:
    """The events from *since* on, or from now, as they happen, until *until* or for ever. Nanoseconds since the epoch.

    Only the last few thousand events of a store are kept.
    """
    seen = engine.events.last() if since is None else 0
    while True:
        now = time.time_ns()
        for event in engine.events.after(seen):
            seen = event.id
            if until is not None and event.time > until:
                return
            if event.time >= (since or 0) and is_meant(event, filters):
                yield event
        if until is not None and now >= until:
            return
        time.sleep(_PAUSE if until is None else min(_PAUSE, (until - now) / _SECOND))


def is_meant(event: Event, filters: Filters) -> bool:
    """Whether an event passes the filters; as with Docker, those that are not known pass all."""
    return (
        _is_action(event.action, filters)
        and filters.allows("type", event.type)
        and filters.allows("scope", "local")
        and filters.fits_labels(event.attributes)
        and _is_image(event, filters)
        and all(_is_object(event, type_, filters) for type_ in ("container", "volume"))
    )


def _is_action(action: str, filters: Filters) -> bool:
    base = action.partition(":")[0]
    return filters.allows("event", action, *((base,) if base in _FOLDED else ()))


def _is_object(event: Event, type_: str, filters: Filters) -> bool:
    """By id or name, or the start of either."""
    names = (event.actor, event.attributes.get("name", ""))
    return not filters[type_] or any(name.startswith(start) for start in filters[type_] for name in names)


def _is_image(event: Event, filters: Filters) -> bool:
    """By id or name, with the tag or without."""
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    return filters.allows("image", event.actor, name, _without_tag(name))


def _without_tag(name: str) -> str:
    repository, _, tag = name.rpartition(":")
    return repository if repository and "/" not in tag else name
