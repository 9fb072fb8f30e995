"""Points in time and lengths of time as Docker's flags take them and its output shows them.

Lengths follow Go's ``time.ParseDuration``, dates RFC 3339 with parts left out. Everything is in nanoseconds, points in
time since the epoch. Not here: clocks; ages in words are in ``units``.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime

from kernel_sandbox.errors import UsageError

SECOND = 10**9
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_LENGTH = re.compile(r"[0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19}")
_UNIT = re.compile(r"[^0-9.]+")
_UNIX = re.compile(r"([+-]?[0-9]{1,19})(?:\.([0-9]{1,19}))?")
_MOST = 2**63 - 1
_ELEMENTS = {
    "2006": (r"[0-9]{4}", "year", 0, 9999),
    "01": (r"[0-9]{2}", "month", 1, 12),
    "02": (r"[0-9]{2}", "day", 1, 31),
    "15": (r"[0-9]{1,2}", "hour", 0, 23),
    "04": (r"[0-9]{2}", "minute", 0, 59),
    "05": (r"[0-9]{2}(?:[.,][0-9]+)?", "second", 0, 59),
    "Z07:00": (r"Z|[+-][0-9]{2}:[0-9]{2}", "zone", 0, 0),
}
_FRACTION = ".999999999"
_LAYOUT = re.compile("|".join(_ELEMENTS) + "|.")


def duration(length: int) -> str:
    """A length as Go's ``time.Duration`` writes it: ``1m30s``, ``1.5s``, ``100ms``."""
    for unit in ("ns", "µs", "ms"):
        if 0 < length < 1000 * _UNITS[unit]:
            return f"{_decimal(length, _UNITS[unit])}{unit}"
    minutes, rest = divmod(length, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND)}s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def parse_duration(text: str) -> int:
    """Nanoseconds of a length such as ``1m30s``, ``1.5h``, ``-300ms``. Raises UsageError in Go's words."""
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if rest == "0":
        return 0
    total, left = 0, rest
    while True:
        number = _LENGTH.match(left)
        if not number:
            raise UsageError(f'time: invalid duration "{text}"')
        unit = _UNIT.match(left, number.end())
        if not unit:
            raise UsageError(f'time: missing unit in duration "{text}"')
        if unit.group() not in _UNITS:
            raise UsageError(f'time: unknown unit "{unit.group()}" in duration "{text}"')
        whole, _, fraction = number.group().partition(".")
        scale = _UNITS[unit.group()]
        total += int(whole or 0) * scale + int(fraction.ljust(19, "0")) * scale // 10**19
        left = left[unit.end() :]
        if total > _MOST:
            raise UsageError(f'time: invalid duration "{text}"')
        if not left:
            return -total if text.startswith("-") else total


def parse_time(text: str, now: int, zone: int) -> int:
    """The point in time that ``--since`` or ``--until`` names, in nanoseconds since the epoch.

    A length of time counts back from *now*, to the whole second as Docker counts; a date without a zone is in *zone*,
    seconds east of UTC; a number is seconds since the epoch. Raises UsageError in Docker's words.
    """
    if text != "0":
        try:
            return (now - parse_duration(text)) // SECOND * SECOND
        except UsageError:
            pass
    try:
        return _date(text, _layout(text), zone)
    except UsageError:
        if "-" in text:
            raise
    unix = _UNIX.fullmatch(text)
    if not unix or abs(int(unix[1])) > _MOST:
        raise UsageError(f'failed to parse value as time or duration: "{text}"')
    return int(unix[1]) * SECOND + int((unix[2] or "0")[:9].ljust(9, "0"))


def _layout(text: str) -> str:
    """The form in which a date is expected to be, in Go's notation."""
    zone = "Z07:00" if re.search("[zZ+]", text) or text.count("-") == 3 else ""
    if "." in text:
        return f"2006-01-02T15:04:05{_FRACTION}{zone}"
    if "T" not in text:
        return f"2006-01-02{zone}"
    colons = text.count(":") - (1 if zone and not re.search("[zZ]", text) else 0)
    return f"2006-01-02T15{':04' if colons > 0 else ''}{':05' if colons > 1 else ''}{zone}"


def _date(text: str, layout: str, zone: int) -> int:
    found: dict[str, str] = {}
    position = 0
    for part in _LAYOUT.findall(layout.replace(_FRACTION, "")):
        pattern, name, least, most = _ELEMENTS.get(part, (re.escape(part), part, 0, 0))
        match = re.compile(pattern).match(text, position)
        if not match:
            raise UsageError(f'parsing time "{text}" as "{layout}": cannot parse "{text[position:]}" as "{part}"')
        if most and not least <= int(re.split("[.,]", match[0])[0]) <= most:
            raise UsageError(f'parsing time "{text}": {name} out of range')
        found[name] = match[0]
        position = match.end()
    if position < len(text):
        raise UsageError(f'parsing time "{text}": extra text: "{text[position:]}"')
    return _since_epoch(text, found, zone)


def _since_epoch(text: str, found: dict[str, str], zone: int) -> int:
    second, _, fraction = found.get("second", "0").replace(",", ".").partition(".")
    parts = (int(found.get(name, "0")) for name in ("year", "month", "day", "hour", "minute"))
    try:
        whole = datetime(*parts, int(second), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        raise UsageError(f'parsing time "{text}": day out of range') from None
    offset = zone if "zone" not in found else _offset(found["zone"])
    return (int(whole.timestamp()) - offset) * SECOND + int(fraction[:9].ljust(9, "0") or 0)


def _offset(zone: str) -> int:
    """Seconds east of UTC."""
    if zone == "Z":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return -seconds if zone[0] == "-" else seconds


def rfc3339(time: int) -> str:
    """A point in time in UTC with all nine digits, as Docker shows it: ``2026-11-22T04:00:00.123456789Z``."""
    return f"{_whole_second(time // SECOND)}.{time % SECOND:09}Z"


@functools.lru_cache(maxsize=16)
def _whole_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
