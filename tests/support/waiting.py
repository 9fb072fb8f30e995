"""Waiting with a bound, and giving up aloud. No test sleeps for a fixed time or waits for ever."""

import os
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

Result = TypeVar("Result")


def wait_until(predicate: Callable[[], Result], timeout: float = 10.0, interval: float = 0.02) -> Result:
    """Return the first true value of ``predicate``, tried every ``interval`` seconds.

    Raises:
        TimeoutError: ``predicate`` was still false after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        if result := predicate():
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {predicate.__doc__ or predicate}")
        time.sleep(interval)


def unavailable(reason: str) -> NoReturn:
    """Skip the test with ``reason``; in CI, where everything is installed, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"unavailable in CI: {reason}", pytrace=False)
    pytest.skip(reason)
