"""Completion of ``%container`` lines: the command tree's own (``commands.completion``), as IPython wants it."""

from __future__ import annotations

import re
from collections.abc import Callable

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from kernel_sandbox.commands import Context
from magics.session import Session

IDENTIFIER = "kernel_sandbox"
_BEFORE_OTHERS = 100


def completion(magic: str, session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher of IPython's second protocol (``IPython.core.completer``) for the lines of a magic."""
    line = re.compile(rf"(?:^|=)\s*%%?{magic}\s+(?P<words>.*)", re.DOTALL)

    def match(context: CompletionContext) -> SimpleMatcherResult:
        """What the word before the cursor may become; nothing where other matchers know better, as for files."""
        found = line.search(context.text_until_cursor)
        if found is None:
            return SimpleMatcherResult(completions=[])
        *typed, fragment = re.split(r"\s+", found["words"])
        texts = _texts(typed, fragment, session)
        completions = [SimpleCompletion(text=text, type="magic") for text in texts]
        return SimpleMatcherResult(completions=completions, matched_fragment=fragment, suppress=bool(texts))

    matcher: Callable[[CompletionContext], SimpleMatcherResult]
    matcher = context_matcher(priority=_BEFORE_OTHERS, identifier=IDENTIFIER)(match)
    return matcher


def _texts(typed: list[str], fragment: str, session: Session) -> list[str]:
    from kernel_sandbox.commands.completion import candidates
    from kernel_sandbox.commands.tree import root

    return [each.text for each in candidates(root, typed, fragment, Context(session.engine)).found]
