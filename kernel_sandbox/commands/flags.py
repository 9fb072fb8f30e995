"""Docker's way of reading flags, which is pflag's: a command line → flags as click takes them, and the other words.

Here: where a flag ends and its value begins, booleans with values, numbers as Go writes them, pflag's complaints. Not
here: what a flag means.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import keys

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_OLD_OCTAL = re.compile(r"^([+-]?)0_?(?=[0-7])")
_BITS = 64


class _Keys(click.ParamType):  # type: ignore[type-arg]
    """Keys as ``spec.keys`` reads them; their text is the value, since the front end that has them typed reads it."""

    name = "keys"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        keys.parse(value)
        return value


KEYS = _Keys()


class MissingValue(UsageError):
    """The command line ends where the value of ``option`` should be."""

    def __init__(self, option: click.Option, where: str) -> None:
        super().__init__(f"flag needs an argument: {where}")
        self.option = option


@dataclass(frozen=True)
class Split:
    """A command line taken apart: flags in click's strict form, ``--name`` or ``--name=value``; and what is no flag."""

    flags: tuple[str, ...]
    words: tuple[str, ...]


def split(arguments: Sequence[str], options: Iterable[click.Option], interspersed: bool) -> Split:
    """Tell flags and words apart; without *interspersed*, flags end at the first word.

    A flag with click's ``is_flag`` is a boolean that is false by default; one of click's type BOOL has a default of its
    own. Both take ``=false``, and may stand without a value for true. Raises UsageError in pflag's words.
    """
    reader = _Reader(arguments, options)
    reader.read(interspersed)
    return Split(tuple(reader.flags()), tuple(reader.words))


def label(option: click.Parameter) -> str:
    """What complaints call a flag: ``-m, --memory``; other names that it has are not told."""
    letters = [name for name in option.opts if not name.startswith("--")]
    names = [name for name in option.opts if name.startswith("--")]
    return ", ".join((*letters[:1], *names[:1]))


def invalid(value: str, option: click.Parameter, reason: object) -> UsageError:
    """The complaint about a flag's value."""
    return UsageError(f'invalid argument {quoted(value)} for "{label(option)}" flag: {reason}')


def is_boolean(option: click.Option) -> bool:
    """Whether the flag may stand without a value."""
    return option.is_flag or option.type is click.BOOL


class _Reader:
    """The state of one reading: what is left, and what has been found."""

    def __init__(self, arguments: Sequence[str], options: Iterable[click.Option]) -> None:
        self._left = deque(arguments)
        self._options = {name: option for option in options for name in option.opts}
        self._given: list[tuple[click.Option, str]] = []
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

    def _value(self, option: click.Option, where: str) -> str:
        if is_boolean(option):
            return "true"
        if not self._left:
            raise MissingValue(option, where)
        return self._left.popleft()

    def _take(self, option: click.Option, text: str) -> None:
        try:
            if is_boolean(option):
                text = _boolean(text)
            elif option.type is click.INT:
                text = _integer(text)
        except ValueError as error:
            raise invalid(text, option, error) from None
        self._given.append((option, text))

    def flags(self) -> Iterable[str]:
        """What was found, as click reads it: of a flag without a value, only whether it holds in the end."""
        held = {option: text == "true" for option, text in self._given if option.is_flag}
        yield from (_name(option) for option, holds in held.items() if holds)
        yield from (f"{_name(option)}={text}" for option, text in self._given if not option.is_flag)


def _name(option: click.Option) -> str:
    return max(option.opts, key=len)


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
        number = int(_OLD_OCTAL.sub(r"\g<1>0o", text), 0)
    except ValueError:
        raise ValueError(f"{complaint}: invalid syntax") from None
    if not -(1 << _BITS - 1) <= number < 1 << _BITS - 1:
        raise ValueError(f"{complaint}: value out of range")
    return str(number)


def quoted(text: str) -> str:
    """As Go's ``%q`` quotes plain text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
