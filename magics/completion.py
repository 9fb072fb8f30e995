"""Completion of ``%container`` lines: commands, flags, and the names of images and containers that there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from kernel_sandbox.errors import SandboxError
from magics.session import Session


class Completion:
    """A matcher of IPython's second protocol (``IPython.core.completer``) for the magic called *name*."""

    def __init__(self, name: str, session: Session) -> None:
        self._line = re.compile(rf"(?:^|=)\s*%%?{name}\s+(?P<words>.*)", re.DOTALL)
        self._session = session
        context_matcher(identifier="kernel_sandbox")(self)

    def __call__(self, context: CompletionContext) -> SimpleMatcherResult:
        match = self._line.search(context.line_with_cursor[: context.cursor_position])
        ...
