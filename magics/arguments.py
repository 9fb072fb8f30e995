"""A magic's line → the command's words, with Python's variables put in. Pure.

The line is split as a POSIX shell does (``shlex``) and only then expanded, so that a value is always part of one word,
whatever it holds. ``$name`` is a variable; ``{name}``, ``{name.attribute}`` and ``{name[key]}`` are replacement fields
of ``str.format``. What does not resolve stays as it was written, and so do ``$$``, ``${NAME}`` and ``{{template}}``:
shells, awk, JSON and ``--format`` keep their own.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping

from kernel_sandbox.errors import UsageError

_IDENTIFIER = r"[^\W\d]\w*"
_VARIABLE = re.compile(
    r"\$\$|\$\{[^}]*\}|\{\{.*?\}\}"  # not ours
    rf"|\$(?P<name>{_IDENTIFIER})"
    rf"|\{{(?P<field>{_IDENTIFIER}(?:\.{_IDENTIFIER}|\[[^\[\]{{}}]+\])*)\}}",
    re.DOTALL,
)
_FORMATTER = string.Formatter()


def words(line: str, variables: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a command line. Raises UsageError for an open quotation."""
    try:
        split = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{str(error).lower()}: {line.strip()}") from None
    return tuple(expand(word, variables) for word in split)


def expand(word: str, variables: Mapping[str, object]) -> str:
    """The word with each variable that resolves replaced by its ``str()``."""

    def value(match: re.Match[str]) -> str:
        field = match["name"] or match["field"]
        if field is None:
            return match[0]
        try:
            found, _ = _FORMATTER.get_field(field, (), variables)
        except (AttributeError, LookupError, TypeError, ValueError):
            return match[0]
        return str(found)

    return _VARIABLE.sub(value, word)
