"""Docker's filters of images: from ``--filter`` to a test that an image passes or not.

Not here: ``dangling`` and ``reference``, which look at the names that an image is listed with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.storage.images import Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.engine import Engine

Test = Callable[[Image], bool]


def selector(engine: Engine, filters: Filters) -> Test:
    """Whether an image passes the filters of age and labels. Raises SandboxError for a wrong value."""
    tests = tuple(_tests(engine, filters))
    return lambda image: all(test(image) for test in tests)


def _tests(engine: Engine, filters: Filters) -> Iterator[Test]:
    """Of several images to be older or newer than, all count."""
    if filters["before"]:
        youngest = min(engine.images.find(name).created for name in filters["before"])
        yield lambda image: image.created < youngest
    if filters["since"]:
        oldest = max(engine.images.find(name).created for name in filters["since"])
        yield lambda image: image.created > oldest
    if filters["until"]:
        limit = filters.until(time.time_ns(), time.localtime().tm_gmtoff)
        yield lambda image: image.created < limit
    if filters["label"] or filters["label!"]:
        yield lambda image: filters.fits_labels(engine.images.labels(image))
