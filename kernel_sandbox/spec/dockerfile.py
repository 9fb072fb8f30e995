"""How a Dockerfile is written: lines, instructions with their flags, and words (the Dockerfile reference, "Format").

    file        := { comment | instruction }        a line goes on after one that ends with ``\\``
    instruction := name { "--" flag } rest
    word        := { character | '\\' character | "'" … "'" | '"' … '"' }+

Not here: what an instruction means (``changes``), and what quotes and variables in a word stand for (``expansion``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.decoding import decodable

_CONTINUED = r"\\[ \t]*\Z"
_WORD = r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*(?:"|\\?\Z)|'[^']*(?:'|\Z))+"""


class Instruction(msgspec.Struct, frozen=True):
    """An instruction: its name in capitals, its flags without their dashes, and the rest of the line."""

    name: str
    flags: tuple[str, ...]
    rest: str


def parse(text: str) -> tuple[Instruction, ...]:
    """The instructions of a file. Raises UsageError where there is none."""
    found = tuple(_instruction(line) for line in _lines(text))
    if not found:
        raise UsageError("file with no instructions")
    return found


def _lines(text: str) -> Iterator[str]:
    """Lines with those that they go on in; comments and empty lines between these do not count."""
    begun: list[str] = []
    for line in text.split("\n"):
        stripped = line.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        part = re.sub(_CONTINUED, "", line)
        begun.append(part)
        if part == line:
            yield "".join(begun)
            begun = []
    if "".join(begun).strip():
        yield "".join(begun)


def _instruction(line: str) -> Instruction:
    name, _, rest = re.sub(r"\s+", " ", line.strip(), count=1).partition(" ")
    flags: list[str] = []
    while rest.startswith("--"):
        flag, *after = rest.split(None, 1)
        rest = after[0] if after else ""
        if flag == "--":
            break
        flags.append(flag.removeprefix("--"))
    return Instruction(name.upper(), tuple(flags), rest)


def pairs(instruction: str, rest: str) -> tuple[tuple[str, str], ...]:
    """``a=1 b="two words"``, or the old form ``name the whole rest``, with their quotes. Raises UsageError."""
    words = re.findall(_WORD, rest, re.DOTALL)
    if words and "=" not in words[0]:
        name, *value = rest.split(None, 1)
        if not value:
            raise UsageError(f"{instruction} must have two arguments")
        return ((name, value[0]),)
    for word in words:
        if "=" not in word:
            raise UsageError(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if word.startswith("="):
            raise UsageError(f"{instruction} names can not be blank")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in words))


def strings(rest: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """The strings of the JSON array that *rest* is; what is none means *otherwise*.

    Raises UsageError for an array of something else.
    """
    if not rest.startswith("["):
        return otherwise
    try:
        return msgspec.json.decode(rest, type=decodable(tuple[str, ...]))
    except msgspec.ValidationError:
        raise UsageError("when using JSON array syntax, arrays must be comprised of strings only") from None
    except msgspec.DecodeError:
        return otherwise
