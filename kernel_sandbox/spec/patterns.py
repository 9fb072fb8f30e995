"""Patterns of names as Go's path.Match reads them: what ``images`` and its ``reference`` filter are given.

    pattern := { term }
    term    := '*' | '?' | '[' [ '^' ] { range } ']' | character | '\\\\' character
    range   := character | character '-' character

``*`` and ``?`` stand for any characters but ``/``. Not here: ``**``, which only ``.dockerignore`` knows.
"""

from __future__ import annotations

import re

from kernel_sandbox.errors import SandboxError

_TERM = re.compile(
    r"(?P<stars>\*+)|(?P<any>\?)|\[(?P<ranges>(?:\\.|[^\\\]])*)\]|\\(?P<escaped>.)|(?P<plain>[^\[\\])", re.DOTALL
)
_RANGE = re.compile(r"(\\.|[^\\-])(?:-(\\.|[^\\-]))?", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern fits the whole text. Raises SandboxError, in Go's words, for one that is none."""
    return re.fullmatch(_expression(pattern), text, re.DOTALL) is not None


def _expression(pattern: str) -> str:
    """A regular expression. What lies between stars is best where it first fits, so it does not look elsewhere."""
    first, *rest = _chunks(pattern)
    if not rest:
        return first
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1]) + f"[^/]*{rest[-1]}"


def _chunks(pattern: str) -> list[str]:
    """What lies between stars, as regular expressions."""
    chunks, at = [""], 0
    while at < len(pattern):
        term = _TERM.match(pattern, at)
        if not term:
            raise _bad()
        at = term.end()
        if term["stars"]:
            chunks.append("")
        elif term["any"]:
            chunks[-1] += "[^/]"
        elif term["ranges"] is not None:
            chunks[-1] += _set(term["ranges"])
        else:
            chunks[-1] += re.escape(term["escaped"] or term["plain"])
    return chunks


def _set(ranges: str) -> str:
    """A class of characters; a range that runs backwards has none."""
    negation, rest = ("^", ranges[1:]) if ranges.startswith("^") else ("", ranges)
    at, found = 0, ""
    while at < len(rest):
        part = _RANGE.match(rest, at)
        if not part:
            raise _bad()
        at = part.end()
        low, high = part[1][-1], (part[2] or part[1])[-1]
        if low <= high:
            found += f"{re.escape(low)}-{re.escape(high)}"
    if not rest:
        raise _bad()
    if not found:
        return "." if negation else "(?!)"
    return f"[{negation}{found}]"


def _bad() -> SandboxError:
    return SandboxError("syntax error in pattern")
