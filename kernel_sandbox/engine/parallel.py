"""Several pieces of work at once: threads that work, while the caller's own hears how they get on.

Front ends are told in the thread they called from: a notebook shows nothing that comes from another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TypeVar

from kernel_sandbox.spec.progress import Progress, Tell

T = TypeVar("T")
_SECONDS_TO_STOP = 12.0


class GivenUp(Exception):
    """Nobody wants this work any more: raised in its thread when it next tells how it gets on."""


def in_parallel(
    works: Sequence[Callable[[Tell], T]], at_once: int, tell: Tell, give_up: Callable[[], None]
) -> tuple[T, ...]:
    """Do the *works*, so many at a time, and return their results in the same order.

    The first failure, and an interruption, ends all: *give_up* wakes those that wait for something, and those under way
    end when they next tell something.
    """
    news: SimpleQueue[Progress | Future[T]] = SimpleQueue()
    is_over = threading.Event()

    def relay(progress: Progress) -> None:
        if is_over.is_set():
            raise GivenUp
        news.put(progress)

    executor = ThreadPoolExecutor(max(1, at_once))
    futures: list[Future[T]] = []
    try:
        for work in works:
            futures.append(executor.submit(work, relay))
            futures[-1].add_done_callback(news.put)
        _follow(news, len(futures), tell)
    except BaseException:
        is_over.set()
        give_up()
        executor.shutdown(wait=False, cancel_futures=True)
        wait([future for future in futures if not future.cancelled()], _SECONDS_TO_STOP)
        raise
    executor.shutdown()
    return tuple(future.result() for future in futures)


def _follow(news: SimpleQueue[Progress | Future[T]], working: int, tell: Tell) -> None:
    while working:
        told = news.get()
        if isinstance(told, Progress):
            tell(told)
        else:
            told.result()
            working -= 1
