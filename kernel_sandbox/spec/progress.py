"""How work on an image gets on: values as in the JSON stream of Docker's Engine API (``/images/create``).

Not here: how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """What is being done to a part, by its *id* (a layer's short one, a tag), or to the whole where that is empty.

    With a *total*, so many of these bytes are done; that moves a bar and is no news of its own.
    """

    status: str
    id: str = ""
    current: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.id}: {self.status}" if self.id else self.status


Tell = Callable[[Progress], None]


def tell_nobody(progress: Progress) -> None:
    """For those who do not want to know."""
