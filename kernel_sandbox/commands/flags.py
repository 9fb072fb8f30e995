"""Docker's way of reading flags, which is pflag's: a command line → flags with their values, and the other words.

Here: where a flag ends and its value begins, booleans with values, numbers as Go writes them, pflag's complaints. Not
here: what a flag means.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import keys

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_OLD_OCTAL = r"^([+-]?)0_?(?=[0-7])"
_BITS = 64


class _Keys:
    """Keys as ``spec.keys`` reads them; their text is the value, since the front end that has them typed reads it."""

    name = "keys"

    def convert(self, value: str, parameter: syntax.Parameter) -> str:
        keys.parse(value)
        return value


KEYS = _Keys()


class MissingValue(UsageError):
    """The command line ends where the value of ``option`` should be."""

    def __init__(self, option: syntax.Option, where: str) -> None:
        super().__init__(f"flag needs an argument: {where}")
        self.option = option


class Split(msgspec.Struct, frozen=True):
    """A command line taken apart: the flags that hold, each with all its values, and what is no flag."""

    given: dict[syntax.Option, list[str]]
    words: tuple[str, ...]


def split(arguments: Sequence[str], options: Iterable[syntax.Option], interspersed: bool) -> Split:
    """Tell flags and words apart; without *interspersed*, flags end at the first word.

    A flag that ``is_flag`` is a boolean that is false by default; one of type bool has a default of its own. Both take
    ``=false``, and may stand without a value for true. Raises UsageError in pflag's words.
    """
    reader = _Reader(arguments, options)
    reader.read(interspersed)
    return Split(reader.given, tuple(reader.words))


def label(option: syntax.Parameter) -> str:
    """What complaints call a flag: ``-m, --memory``; other names that it has are not told."""
    letters = [name for name in option.opts if not name.startswith("--")]
    names = [name for name in option.opts if name.startswith("--")]
    return ", ".join((*letters[:1], *names[:1]))


def invalid(value: str, option: syntax.Parameter, reason: object) -> UsageError:
    """The complaint about a flag's value."""
    return UsageError(f'invalid argument {quoted(value)} for "{label(option)}" flag: {reason}')


def is_boolean(option: syntax.Option) -> bool:
    """Whether the flag may stand without a value."""
    return option.type is bool


class _Reader:
    """The state of one reading: what is left, and what has been found."""

    def __init__(self, arguments: Sequence[str], options: Iterable[syntax.Option]) -> None:
        self._left = deque(arguments)
        self._options = {name: option for option in options for name in option.opts}
        self.given: dict[syntax.Option, list[str]] = {}
        self.words: list[str] = []

    def read(self, interspersed: bool) -> None:
        """Take all words from the command line."""
        while self._left:
            argument = self._left.popleft()
            if argument == "--":
                break
            if argument.startswith("--"):
                self._read_long(argument)
            elif argument.startswith("-") and argument != "-":
                self._read_short(argument[1:])
            else:
                self.words.append(argument)
                if not interspersed:
                    break
        self.words += self._left

    def _read_long(self, argument: str) -> None:
        name, equals, value = argument.partition("=")
        if name.startswith("---") or name == "--":
            raise UsageError(f"bad flag syntax: {argument}")
        option = self._options.get(name)
        if option is None:
            raise UsageError(f"unknown flag: {name}")
        self._take(option, value if equals else self._value(option, name))

    def _read_short(self, letters: str) -> None:
        """One letter or several: all but the last are booleans, unless the rest is a value."""
        while letters:
            option = self._options.get(f"-{letters[0]}")
            if option is None:
                raise UsageError(f"unknown shorthand flag: '{letters[0]}' in -{letters}")
            if letters[1:2] == "=" and len(letters) > 2:
                value, rest = letters[2:], ""
            elif is_boolean(option):
                value, rest = "true", letters[1:]
            else:
                value, rest = letters[1:] or self._value(option, f"'{letters}' in -{letters}"), ""
            self._take(option, value)
            letters = rest

    def _value(self, option: syntax.Option, where: str) -> str:
        if is_boolean(option):
            return "true"
        if not self._left:
            raise MissingValue(option, where)
        return self._left.popleft()

    def _take(self, option: syntax.Option, text: str) -> None:
        try:
            if is_boolean(option):
                text = _boolean(text)
            elif option.type is int:
                text = _integer(text)
        except ValueError as error:
            raise invalid(text, option, error) from None
        if option.is_flag and text == "false":
            self.given.pop(option, None)
        else:
            self.given.setdefault(option, []).append(text)


def _boolean(text: str) -> str:
    """Go's strconv.ParseBool."""
    if text in _TRUE:
        return "true"
    if text in _FALSE:
        return "false"
    raise ValueError(f"strconv.ParseBool: parsing {quoted(text)}: invalid syntax")


def _integer(text: str) -> str:
    """Go's strconv.ParseInt with any base: ``0x10``, ``010`` and ``1_000`` are numbers, too."""
    complaint = f"strconv.ParseInt: parsing {quoted(text)}"
    if not text.isascii() or text != text.strip():
        raise ValueError(f"{complaint}: invalid syntax")
    try:
        number = int(re.sub(_OLD_OCTAL, r"\g<1>0o", text), 0)
    except ValueError:
        raise ValueError(f"{complaint}: invalid syntax") from None
    if not -(1 << _BITS - 1) <= number < 1 << _BITS - 1:
        raise ValueError(f"{complaint}: value out of range")
    return str(number)


def quoted(text: str) -> str:
    """As Go's ``%q`` quotes plain text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
