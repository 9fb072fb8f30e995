"""``--filter name=value``: how it is written, and what values mean that several of Docker's filters share.

The same filter given twice means either value, but for labels, of which all are wanted. Not here: which filters a
command has, and what they look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from kernel_sandbox.errors import SandboxError, UsageError

_LAST_MOMENT = 2**63 - 1


class Filters(msgspec.Struct, frozen=True):
    """The values that each filter was given, in their order."""

    given: Mapping[str, tuple[str, ...]] = {}

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Filters:
        """Of names and values as ``parse`` reads them; two empty texts are no filter."""
        given: dict[str, tuple[str, ...]] = {}
        for name, value in pairs:
            if name or value:
                given[name] = (*given.get(name, ()), value)
        return cls(given)

    def also(self, name: str, value: str) -> Filters:
        """These and one more value."""
        return Filters({**self.given, name: (*self[name], value)})

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.given.get(name, ())

    def check(self, *known: str) -> None:
        """Raises SandboxError for a filter that is not one of *known*."""
        for name in self.given:
            if name not in known:
                raise SandboxError(f"Invalid filter '{name}'")

    def allows(self, name: str, *values: str) -> bool:
        """Whether the filter asks for one of *values*, or for nothing."""
        wanted = self[name]
        return not wanted or any(value in wanted for value in values)

    def matches(self, name: str, *texts: str) -> bool:
        """``allows``, where the filter's values are regular expressions found anywhere; a wrong one matches nothing."""
        wanted = self[name]
        return not wanted or any(_is_found(pattern, text) for pattern in wanted for text in texts)

    def fits_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether *labels* have all that ``label=key[=value]`` asks for, and none of what ``label!=`` does."""
        return all(_has(labels, label) for label in self["label"]) and not any(
            _has(labels, label) for label in self["label!"]
        )

    def until(self, now: int, zone: int) -> int:
        """The moment before which things were made that are meant, in nanoseconds since the epoch; else the last one.

        *zone* is for a time without one, in seconds east of UTC. Raises SandboxError.
        """
        if len(self["until"]) > 1:
            raise SandboxError("more than one until filter specified")
        from kernel_sandbox.spec.times import parse_time

        return parse_time(self["until"][0], now, zone) if self["until"] else _LAST_MOMENT

    def flag(self, name: str) -> bool | None:
        """The value of a filter that is true or false; None without it. Raises SandboxError."""
        values = set(self[name])
        if not values:
            return None
        if values <= {"1", "true"}:
            return True
        if values <= {"0", "false"}:
            return False
        raise SandboxError(f"Invalid filter '{name}=[{' '.join(self[name])}]'")


def parse(text: str) -> tuple[str, str]:
    """A filter's name and value; an empty text is none. Raises UsageError."""
    name, equals, value = text.partition("=")
    if text and not equals:
        raise UsageError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def _is_found(pattern: str, text: str) -> bool:
    try:
        return pattern == text or re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
