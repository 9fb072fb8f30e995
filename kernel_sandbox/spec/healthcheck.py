"""The Dockerfile's ``HEALTHCHECK [--interval= --timeout= --start-period= --retries=] CMD …`` and ``HEALTHCHECK NONE``.

Not here: the flags of ``run`` that say the same (``flags``), and what a check's outcome means (``health``).
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.times import parse_duration

_TIMES = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
}
_RETRIES = "retries"
_MILLISECOND = 1_000_000


def parse(rest: str) -> Healthcheck:
    """The check that the instruction's arguments ask for. Raises UsageError in Docker's words."""
    times: dict[str, int] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        name, _, value = flag.removeprefix("--").partition("=")
        if name == _RETRIES:
            times[_RETRIES] = _retries(value)
        elif name in _TIMES:
            times[_TIMES[name]] = _time(name, value)
        else:
            raise UsageError(f"Unknown flag: {name}")
    return Healthcheck(test=_test(rest), **times)


def _test(rest: str) -> tuple[str, ...]:
    kind, _, command = rest.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE":
        if command:
            raise UsageError("HEALTHCHECK NONE takes no arguments")
        return ("NONE",)
    if kind.upper() != "CMD":
        raise UsageError(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    if not command:
        raise UsageError("Missing command after HEALTHCHECK CMD")
    try:
        return ("CMD", *msgspec.json.decode(command, type=tuple[str, ...]))
    except msgspec.DecodeError:
        return ("CMD-SHELL", command)


def _time(name: str, value: str) -> int:
    length = parse_duration(value) if value else 0
    if length and length < _MILLISECOND:
        raise UsageError(f'Interval "{name}" cannot be less than 1ms')
    return length


def _retries(value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        raise UsageError(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
    if number < 1:
        raise UsageError(f"--retries must be at least 1 (not {number})")
    return number
