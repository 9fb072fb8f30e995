"""``events``: what happens, a line for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.filtering import filter_option
from kernel_sandbox.commands.listing import on_one_line
from kernel_sandbox.commands.results import Result, Stream
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.times import parse_time
from kernel_sandbox.storage.events import Event

_SECOND = 10**9
_PARSING_FAILED = 64


class Actor(msgspec.Struct, frozen=True):
    """What an event is about."""

    id: str = msgspec.field(name="ID")
    attributes: Mapping[str, str] = msgspec.field(name="Attributes")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the shape of Docker's Engine API. Times are in seconds and in nanoseconds since the epoch."""

    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    from_: str | UnsetType = msgspec.field(name="from", default=UNSET)
    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    scope: str = "local"
    time: int
    time_nano: int = msgspec.field(name="timeNano")


@syntax.command(Command)
@filter_option("-f", "--filter")
@syntax.option(
    "--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template, or json."
)
@syntax.option("--since", default="", metavar="TIME", help="Begin with those of then: a time, or as 10m ago.")
@syntax.option("--until", default="", metavar="TIME", help="End then, rather than go on.")
def events(context: Context, filters: Filters, template: str, since: str, until: str) -> Result:
    """Show what happens to containers, images and volumes, as it happens."""
    from kernel_sandbox.engine.events import happening

    now = time.time_ns()
    zone = time.localtime().tm_gmtoff
    start = parse_time(since, now, zone) if since else None
    end = parse_time(until, now, zone) if until else None
    if end is not None and start is None and end <= now:
        return Stream(iter(()))
    return Stream(_lines(happening(context.engine, start, end, filters), template))


def _lines(found: Iterator[Event], template: str) -> Iterator[str]:
    show = _shown(template)
    for event in found:
        yield show(event)


def _shown(template: str) -> Callable[[Event], str]:
    """How an event becomes a line. Raises SandboxError for a template that is none."""
    if not template:
        return _line
    from kernel_sandbox.spec import template as templates

    try:
        compiled = templates.compile("{{json .}}" if template == "json" else template)
    except templates.TemplateError as error:
        raise _refused(error) from None

    def rendered(event: Event) -> str:
        try:
            return compiled.render(_message(event))
        except templates.TemplateError as error:
            raise _refused(error) from None

    return rendered


def _refused(error: SandboxError) -> SandboxError:
    refusal = SandboxError(f"Error parsing format: {error}")
    refusal.exit_code = _PARSING_FAILED
    return refusal


def _line(event: Event) -> str:
    """``TIME TYPE ACTION ID (name=value, …)``, the time in the caller's zone."""
    about = on_one_line(", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items())))
    return f"{_time(event.time)} {event.type} {event.action} {event.actor}" + (f" ({about})" if about else "")


def _time(nanoseconds: int) -> str:
    whole = datetime.fromtimestamp(nanoseconds // _SECOND).astimezone().isoformat()
    zone = whole[19:].replace("+00:00", "Z")
    return f"{whole[:19]}.{nanoseconds % _SECOND:09}{zone}"


def _message(event: Event) -> Message:
    """Containers' and images' events say some things twice, for old clients."""
    is_old = event.type in ("container", "image")
    return Message(
        status=event.action if is_old else UNSET,
        id=event.actor if is_old else UNSET,
        from_=event.attributes.get("image", UNSET) if event.type == "container" else UNSET,
        type=event.type,
        action=event.action,
        actor=Actor(event.actor, event.attributes),
        time=event.time // _SECOND,
        time_nano=event.time,
    )
