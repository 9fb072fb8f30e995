"""The text of ``create``'s and ``run``'s flags → values: variables, labels, signals, policies, checks, logging.

Each function reads one value in Docker's grammar and raises UsageError in Docker's words. Not here: mounts
(``mount_flags``), limits, devices and settings of the kernel (``kernel_flags``), namespaces (``sharing``), files.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.options import RestartPolicy
from kernel_sandbox.spec.units import is_number, parse_bytes

_STREAMS = ("stdin", "stdout", "stderr")
_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_REAL_TIME = r"RT(MIN\+|MAX-)([0-9]{1,2})"
_INTEGER = r"[+-]?[0-9]+"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LOG_DRIVERS = ("json-file", "none")
_LOG_OPTIONS = ("max-file", "max-size", "labels", "labels-regex", "env", "env-regex", "compress", "tag")
_MILLISECOND = 10**6


def parse_signal(text: str) -> int:
    """A signal by name, with or without SIG, also ``RTMIN+3``, or by number (signal(7))."""
    name = text.upper().removeprefix("SIG")
    number = int(text) if is_number(text) else int(signal.Signals.__members__.get(f"SIG{name}", 0))
    if match := re.fullmatch(_REAL_TIME, name):
        offset = int(match[2])
        number = int(signal.SIGRTMIN) + offset if match[1] == "MIN+" else int(signal.SIGRTMAX) - offset
        number = number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else 0
    if not 0 < number < signal.NSIG:
        raise UsageError(f"Invalid signal: {text}")
    return number


def parse_label(text: str) -> tuple[str, str]:
    """``-l``'s value, ``key[=value]``."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise UsageError(f"invalid label '{text}': empty name")
    return key, value


def parse_env(text: str, own: Mapping[str, str]) -> str | None:
    """``-e``'s value: ``NAME=value``, or ``NAME`` taken from *own* (None where it is not set there)."""
    name, equals, _ = text.partition("=")
    if not name:
        raise UsageError(f"invalid environment variable: {text}")
    if equals:
        return text
    return f"{name}={own[name]}" if name in own else None


def parse_pairs(name: str, content: bytes, own: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of an ``--env-file`` or ``--label-file``, read from the file *name*: ``KEY=VALUE`` each.

    A line with a key alone takes the value from *own*, or says nothing. Empty lines and those with # are comments.
    """
    lines = content.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    try:
        return tuple(_pairs(lines, own))
    except ValueError as error:
        raise UsageError(f"invalid env file ({name}): {error}") from None


def _pairs(lines: Iterable[bytes], own: Mapping[str, str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise ValueError(f"invalid utf8 bytes at line {number}: [{' '.join(map(str, line))}]") from None
        if not text or text.startswith("#"):
            continue
        name, equals, _ = text.partition("=")
        if not equals:
            name = name.strip()
        if any(character.isspace() for character in name):
            raise ValueError(f"variable '{name}' contains whitespaces")
        if not name:
            raise ValueError(f"no variable name on line '{text}'")
        if equals:
            yield text
        elif name in own:
            yield f"{name}={own[name]}"


def parse_stream(text: str) -> str:
    """``-a``'s value."""
    if text.lower() not in _STREAMS:
        raise UsageError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def parse_restart(text: str) -> RestartPolicy:
    """``--restart``'s value, ``name[:retries]``."""
    name, colon, retries = text.partition(":")
    if colon and retries and not re.fullmatch(_INTEGER, retries):
        raise UsageError("invalid restart policy format: maximum retry count must be an integer")
    return RestartPolicy(name or "no", int(retries or 0))


def check_restart(policy: RestartPolicy) -> None:
    """Refuse a policy that does not exist, and retries for any but ``on-failure``."""
    if policy.name not in _POLICIES:
        raise UsageError(f"invalid restart policy '{policy.name}'")
    if policy.maximum_retries and policy.name != "on-failure":
        raise UsageError(f"maximum retry count cannot be used with restart policy '{policy.name}'")
    if policy.maximum_retries < 0:
        raise UsageError("maximum retry count cannot be negative")


def health(
    command: str, interval: int, timeout: int, start_period: int, retries: int, none: bool
) -> Healthcheck | None:
    """The check that the ``--health-`` flags ask for, None where there are none of them; times in nanoseconds."""
    given = bool(command or interval or timeout or start_period or retries)
    if none:
        if given:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return Healthcheck(test=("NONE",))
    times = {"interval": interval, "timeout": timeout, "start-period": start_period, "retries": retries}
    for name, value in times.items():
        if value < 0:
            raise UsageError(f"--health-{name} cannot be negative")
    if not given:
        return None
    test = ("CMD-SHELL", command) if command else ()
    return Healthcheck(test=test, interval=interval, timeout=timeout, start_period=start_period, retries=retries)


def check_health(check: Healthcheck) -> None:
    """Refuse times that are too short to be kept."""
    times = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
    for name, value in times.items():
        if 0 < value < _MILLISECOND:
            raise UsageError(f"{name} in Healthcheck cannot be less than 1ms")


def log_limits(driver: str, options: Mapping[str, str]) -> tuple[int | None, int]:
    """The largest size of a log file in bytes, None for any, and how many are kept, from the ``--log-opt``s."""
    if driver not in _LOG_DRIVERS:
        raise UsageError(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    for name in options:
        if name not in _LOG_OPTIONS:
            raise UsageError(f"unknown log opt '{name}' for {driver} log driver")
    try:
        size = _log_size(options.get("max-size", ""))
        return size, _log_files(options.get("max-file", "1"))
    except UsageError as error:
        raise UsageError(f"failed to initialize logging driver: {error}") from None


def _log_size(text: str) -> int | None:
    if text in ("", "-1"):
        return None
    size = parse_bytes(text)
    if size <= 0:
        raise UsageError("max-size must be a positive number")
    return size


def _log_files(text: str) -> int:
    if not re.fullmatch(_INTEGER, text):
        raise UsageError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise UsageError("max-file cannot be less than 1")
    return int(text)


def storage_size(options: Iterable[tuple[str, str]]) -> int | None:
    """The quota in bytes that the ``--storage-opt``s ask for, None for none."""
    size = None
    for name, value in options:
        if name.lower() != "size":
            raise UsageError(f"Unknown option {name}")
        size = parse_bytes(value)
    return size


def parse_option(text: str) -> tuple[str, str]:
    """``name=value`` of ``--log-opt``."""
    name, _, value = text.partition("=")
    return name, value


def parse_storage_option(text: str) -> tuple[str, str]:
    """``name=value`` of ``--storage-opt``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("invalid storage option")
    return name, value
