"""Docker's health checks: how results add up to a container's health. Times are nanoseconds.

A container is ``starting`` until its first success, or until it has failed ``retries`` times in a row after its start
period; then each run of so many failures makes it ``unhealthy`` and each success ``healthy``.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.spec.image import Healthcheck

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
SHELL = ("/bin/sh", "-c")
_SECOND = 10**9
_KEPT_RESULTS = 5
_INTERVAL, _TIMEOUT, _RETRIES = 30 * _SECOND, 30 * _SECOND, 3


class HealthResult(msgspec.Struct, frozen=True):
    """One check: when it ran, its exit code (-1 for one that did not end in time), the start of what it wrote."""

    start: int
    end: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True):
    """A container's health, with the last results, oldest first."""

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


def merged(own: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """The check that a container has: its own fields over the image's; None for none."""
    if own is None or image is None:
        check = own or image
    else:
        check = Healthcheck(
            test=own.test or image.test,
            interval=own.interval or image.interval,
            timeout=own.timeout or image.timeout,
            start_period=own.start_period or image.start_period,
            start_interval=own.start_interval or image.start_interval,
            retries=own.retries or image.retries,
        )
    return check if check and check.test and check.test[0] != "NONE" else None


def command(check: Healthcheck, shell: tuple[str, ...]) -> tuple[str, ...]:
    """What to run: ``CMD-SHELL`` through the image's shell, ``CMD`` as it is written."""
    kind, *words = check.test
    return (*(shell or SHELL), *words) if kind == "CMD-SHELL" else tuple(words)


def interval(check: Healthcheck) -> int:
    """Time from the end of one check to the start of the next."""
    return check.interval or _INTERVAL


def timeout(check: Healthcheck) -> int:
    """How long one check may take."""
    return check.timeout or _TIMEOUT


def after(health: Health, result: HealthResult, check: Healthcheck, started: int) -> Health:
    """The health once *result* has come in, in a container that *started* then."""
    log = (*health.log, result)[-_KEPT_RESULTS:]
    if result.exit_code == 0:
        return Health(HEALTHY, 0, log)
    is_early = health.status == STARTING and result.start - started < check.start_period
    streak = health.failing_streak + (0 if is_early else 1)
    failed = streak >= (check.retries or _RETRIES)
    return Health(UNHEALTHY if failed else health.status, streak, log)
