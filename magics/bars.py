"""How a pull or a push gets on, in a cell: a bar for each layer where the front end draws them, else lines."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from IPython.core.getipython import get_ipython

from kernel_sandbox.spec.progress import Progress, Tell

_LAYER = re.compile("[0-9a-f]{12}")
_BEGINNINGS = ("Pulling fs layer", "Preparing", "Waiting")


@contextmanager
def telling(stream: TextIO | None = None) -> Iterator[Tell]:
    """Show what is told until the end, as bars in a notebook; what is no layer's is a line on *stream*."""
    lines = _Lines(stream or sys.stdout)
    make_bar = _bar_maker()
    if make_bar is None:
        yield lines.tell
        return
    bars = Bars(make_bar, lines.tell)
    try:
        yield bars.tell
    finally:
        bars.close()


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, progress: Progress) -> None:
        if not progress.total:
            print(progress, file=self._stream, flush=True)


class Bars:
    """A bar for each layer of which bytes move, by its id. *make* makes one, an object such as ``tqdm.tqdm``."""

    def __init__(self, make: Callable[..., Any], tell_line: Tell) -> None:
        self._make = make
        self._tell_line = tell_line
        self._bars: dict[str, Any] = {}

    def tell(self, progress: Progress) -> None:
        if not _LAYER.fullmatch(progress.id):
            self._tell_line(progress)
            return
        bar = self._bars.get(progress.id)
        if bar:
            _move(bar, progress)
        elif progress.total:
            bar = self._make(desc=str(progress), total=progress.total, unit="B", unit_scale=True)
            bar.update(progress.current)
            self._bars[progress.id] = bar
        elif progress.status not in _BEGINNINGS:
            self._tell_line(progress)

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in self._bars.values():
            bar.close()


def _move(bar: Any, progress: Progress) -> None:
    if progress.total:
        if bar.total != progress.total or progress.current < bar.n:
            bar.reset(progress.total)
        bar.update(progress.current - bar.n)
    if bar.desc != str(progress):  # it is drawn with each description, but not with each update
        bar.set_description_str(str(progress))


def _bar_maker() -> Callable[..., Any] | None:
    """tqdm's own choice of a bar, in a kernel that has it; on a terminal and elsewhere lines are read more easily."""
    shell = get_ipython()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that bars will be made of text, where a notebook has no widgets
            from tqdm.auto import tqdm
    except ImportError:
        return None
    maker: Callable[..., Any] = tqdm
    return maker
