"""Waiting with a bound, and giving up aloud. No test sleeps for a fixed time or waits for ever."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")


def wait_until(predicate: Callable[[], Result], timeout: float = 20.0, interval: float = 0.02) -> Result:
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


def run_bounded(command: Sequence[str], timeout: float, **options: Any) -> int:
    """Run ``command`` without standard input; return its exit status.

    When the time is over, or this process is interrupted, the command gets SIGINT and half a minute to clean
    up, as pytest does, before it is killed.

    Raises:
        subprocess.TimeoutExpired: it was still running after ``timeout`` seconds.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **options) as process:
        try:
            return process.wait(timeout)
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def unavailable(reason: str) -> NoReturn:
    """Skip the test with ``reason``; in CI, where everything is installed, fail it."""
    import pytest  # benchmarks have none

    if os.environ.get("CI"):
        pytest.fail(f"unavailable in CI: {reason}", pytrace=False)
    pytest.skip(reason)
