"""Quotes, escapes and variables in the words of a Dockerfile (its reference, "Environment replacement").

    word     := { character | '\\' character | "'" … "'" | '"' … '"' | variable }
    variable := '$' name | '${' name '}' | '${' name [ ':' ] ( '-' | '+' | '?' ) word '}'

Nothing is expanded between single quotes; between double ones ``\\`` escapes ``"``, ``$`` and itself alone. Not here:
where one word ends and the next begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kernel_sandbox.errors import UsageError

_NAME = r"\d+|[@*#?\-$!]|\w+"
_ESCAPED_IN_QUOTES = ('"', "$", "\\")


def expanded(word: str, variables: Mapping[str, str]) -> str:
    """What *word* stands for, an unknown variable for nothing. Raises UsageError in BuildKit's words."""
    if not re.search(r"""["'\\$]""", word):
        return word
    try:
        return _Reader(word, variables).read()
    except (UsageError, RecursionError) as error:
        from kernel_sandbox.spec.template_values import quote

        raise UsageError(f"failed to process {quote(word)}: {error}") from None


class _Reader:
    """A word that is being read; every method leaves the position after what it returns."""

    def __init__(self, word: str, variables: Mapping[str, str]) -> None:
        self._word = word
        self._variables = variables
        self._at = 0

    def read(self, end: str = "") -> str:
        """All up to the character *end*, which must come, or without one up to the word's own."""
        found = ""
        while (character := self._next()) and character != end:
            if character == "'":
                found += self._single_quoted()
            elif character == '"':
                found += self._double_quoted()
            elif character == "$":
                found += self._variable()
            else:
                found += self._next() if character == "\\" else character
        if character != end:
            raise UsageError(f"syntax error: missing '{end}'")
        return found

    def _next(self) -> str:
        """The next character, empty at the end."""
        self._at += 1
        return self._word[self._at - 1 : self._at]

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _single_quoted(self) -> str:
        text, quote, _ = self._word[self._at :].partition("'")
        if not quote:
            raise UsageError("unexpected end of statement while looking for matching single-quote")
        self._at += len(text) + 1
        return text

    def _double_quoted(self) -> str:
        found = ""
        while (character := self._next()) != '"':
            if not character:
                raise UsageError("unexpected end of statement while looking for matching double-quote")
            if character == "$":
                found += self._variable()
            else:
                escapes = character == "\\" and self._peek() in _ESCAPED_IN_QUOTES
                found += self._next() if escapes else character
        return found

    def _variable(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        if self._peek() in ("{", "}", ":"):
            raise UsageError("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        return self._variables.get(name, "") if modifier == "}" else self._modified(name, modifier)

    def _modified(self, name: str, modifier: str) -> str:
        """A variable that is there or not; behind a colon an empty one is not."""
        colon = modifier == ":"
        kind = self._next() if colon else modifier
        if not kind:
            raise UsageError("syntax error: missing '}'")
        if kind not in "-+?":
            raise UsageError(f"unsupported modifier ({':' if colon else ''}{kind}) in substitution")
        word = self.read("}")
        value = self._variables.get(name, "")
        is_there = bool(value) if colon else name in self._variables
        if kind == "+":
            return word if is_there else ""
        if kind == "?" and not is_there:
            raise UsageError(f"{name}: {word or self._lack(name)}")
        return value if is_there else word

    def _lack(self, name: str) -> str:
        return f"is not allowed to be {'empty' if name in self._variables else 'unset'}"

    def _name(self) -> str:
        found = re.compile(_NAME).match(self._word, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""
