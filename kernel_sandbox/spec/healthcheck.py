"""The Dockerfile's ``HEALTHCHECK [--interval= --timeout= --start-period= --retries=] CMD …`` and ``HEALTHCHECK NONE``.

Not here: the flags of ``run`` that say the same (``flags``), and what a check's outcome means (``health``).
"""

from __future__ import annotations

from collections.abc import Iterable

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.dockerfile import strings
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.times import parse_duration

_RETRIES = "retries"
_FIELDS = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
    _RETRIES: "retries",
}
_MILLISECOND = 1_000_000


def parse(flags: Iterable[str], rest: str) -> Healthcheck:
    """The check that the instruction's flags and arguments ask for. Raises UsageError in Docker's words."""
    given: dict[str, int] = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        field = _FIELDS.get(name)
        if field is None:
            raise UsageError(f"Unknown flag: {name}")
        if field in given:
            raise UsageError(f"Duplicate flag specified: {name}")
        if not equals:
            raise UsageError(f"Missing a value on flag: {name}")
        given[field] = _number(name, value) if value else 0
    return Healthcheck(test=_test(rest), **given)


def _number(name: str, value: str) -> int:
    return _retries(value) if name == _RETRIES else _time(name, value)


def _test(rest: str) -> tuple[str, ...]:
    kind, command = (*rest.split(None, 1), "", "")[:2]
    if kind.upper() == "NONE":
        if command:
            raise UsageError("HEALTHCHECK NONE takes no arguments")
        return ("NONE",)
    if kind.upper() != "CMD":
        raise UsageError(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    shell_form = ("CMD-SHELL", command)
    words = strings(command, shell_form)
    if not command or not words:
        raise UsageError("Missing command after HEALTHCHECK CMD")
    return words if words is shell_form else ("CMD", *words)


def _time(name: str, value: str) -> int:
    length = parse_duration(value)
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
