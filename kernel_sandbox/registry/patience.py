"""How long a server is waited for, and how often it is asked again. All times are in seconds."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """The limits of one client.

    A request is repeated *retries* times, after *first_wait*, then twice as long each time up to *longest_wait*, or as
    long as the server asks for (``Retry-After``); in all that may take the time *total*. An *answer* has to begin and a
    *document* to be complete within its time; of a blob at least *least_bytes* come within each *window*.
    """

    retries: int = 5
    first_wait: float = 0.2
    longest_wait: float = 8.0
    total: float = 90.0
    connect: float = 10.0
    silence: float = 30.0
    answer: float = 60.0
    document: float = 60.0
    window: float = 30.0
    least_bytes: int = 32 << 10

    def retrying(self) -> Retries:
        """The account of one request."""
        return Retries(self)


class Retries:
    """How often a request was repeated, and since when."""

    def __init__(self, patience: Patience):
        self._patience = patience
        self.start_again()

    def start_again(self) -> None:
        """There was progress: the next failure is the first one."""
        self._made = 0
        self._started = time.monotonic()

    def next_wait(self, asked: float = 0.0) -> float:
        """The time to wait before the next repetition, *asked* or longer; -1 when there is to be none."""
        usual = min(self._patience.first_wait * 2**self._made, self._patience.longest_wait)
        wait = max(asked, usual * random.uniform(0.5, 1.0))  # noqa: S311 (no secret: it keeps clients apart)
        self._made += 1
        ends = time.monotonic() + wait - self._started
        return -1.0 if self._made > self._patience.retries or ends > self._patience.total else wait


def retry_after(value: str) -> float:
    """The time that the field ``Retry-After`` asks for (RFC 9110, section 10.2.3), 0 where it is none."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text[:64]).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0
