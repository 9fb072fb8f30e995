"""Works side by side: their results, their news, and an end to all of them when one fails."""

import threading
import time

import pytest

from kernel_sandbox.engine.parallel import in_parallel
from kernel_sandbox.spec.progress import Progress, Tell


def test_results_come_in_the_order_of_the_works_and_news_in_the_callers_thread() -> None:
    heard: set[int] = set()
    second_is_done = threading.Event()

    def first(tell: Tell) -> int:
        second_is_done.wait(20)
        tell(Progress("first"))
        return 1

    def second(tell: Tell) -> int:
        second_is_done.set()
        return 2

    assert in_parallel([first, second], 2, lambda _: heard.add(threading.get_ident()), lambda: None) == (1, 2)
    assert heard == {threading.get_ident()}


def test_a_failure_ends_what_is_under_way_and_nobody_waits_for_what_was_not_begun() -> None:
    begun: list[str] = []
    goes_on = threading.Event()

    def failing(_: Tell) -> None:
        goes_on.wait(20)
        raise ValueError("no")

    def talking(tell: Tell) -> None:
        begun.append("talking")
        goes_on.set()
        while True:
            tell(Progress("still here"))
            time.sleep(0.001)

    def late(_: Tell) -> None:
        begun.append("late")
        time.sleep(0.2)

    given_up: list[bool] = []
    started = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        in_parallel([talking, failing, *[late] * 50], 2, lambda _: None, lambda: given_up.append(True))
    assert time.monotonic() - started < 8
    assert given_up == [True]
    assert len(begun) < 50
