"""Sizes and ages as people write them, to docker/go-units.

Here: numbers to words and back. Not here: clocks, tables, limits.
"""

import re

from kernel_sandbox.errors import UsageError

_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SIZE = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:([kmgtp])i?)?b?"
_BINARY_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX_SIZE = 2**63 - 1

_HOUR = 3600
_DAY = 24
_WEEK = 7 * _DAY
_MONTH = 30 * _DAY
_YEAR = 365 * _DAY


def is_number(text: str) -> bool:
    """Whether the text is a number in ASCII digits; ``str.isdigit`` knows others, which ``int`` does not."""
    return text.isascii() and text.isdigit()


def human_size(size: float, precision: int = 3) -> str:
    """``size`` bytes in decimal units: ``4.26MB``.

    ``precision`` counts significant digits: Docker's tables of images and containers show 3, ``system df`` 4.
    """
    unit = 0
    while size >= 1000 and unit < len(_DECIMAL_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.{precision}g}{_DECIMAL_UNITS[unit]}"


def binary_size(size: float) -> str:
    """``size`` bytes in binary units, as Docker shows memory: ``23.54GiB``."""
    unit = 0
    while size >= 1024 and unit < len(_BINARY_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.4g}{_BINARY_UNITS[unit]}"


def exact_size(size: int) -> str:
    """The shortest text that ``parse_bytes`` reads as ``size``: ``1g``, ``1536m``, ``1000``."""
    power = next((power for power in range(5, 0, -1) if size and size % 1024**power == 0), 0)
    return f"{size // 1024**power}{' kmgtp'[power].strip()}"


def human_duration(seconds: float) -> str:
    """A length of time in its largest fitting unit: ``About a minute``, ``2 hours``, ``3 weeks``."""
    whole_seconds, minutes = int(seconds), int(seconds / 60)
    if whole_seconds < 1:
        return "Less than a second"
    if whole_seconds == 1:
        return "1 second"
    if whole_seconds < 60:
        return f"{whole_seconds} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    return _human_hours(seconds / _HOUR)


def _human_hours(exact_hours: float) -> str:
    hours = int(exact_hours + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 2 * _DAY:
        return f"{hours} hours"
    if hours < 2 * _WEEK:
        return f"{hours // _DAY} days"
    if hours < 2 * _MONTH:
        return f"{hours // _WEEK} weeks"
    if hours < 2 * _YEAR:
        return f"{hours // _MONTH} months"
    return f"{int(exact_hours) // _YEAR} years"


def parse_bytes(text: str) -> int:
    """Bytes of a size in binary units: ``512m``, ``1g``, ``64 KiB``, ``100b``; raises UsageError."""
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if not match:
        raise UsageError(f"invalid size: '{text}'")
    number, unit = match.groups(default="")
    scale = 1024 ** _BINARY_POWERS[unit.lower()]
    size = int(number) * scale if number.isdigit() else int(float(number) * scale)
    if size > _MAX_SIZE:
        raise UsageError(f"invalid size: '{text}'")
    return size
