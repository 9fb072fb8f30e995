"""Go's view of values, as its packages text/template and fmt document it: types, truth, printing, literals.

A mapping is Go's map, a list or tuple its slice, a ``msgspec.Struct`` its struct (fields by their encoded names), None
its nil. Not here: the functions that templates have (``template_functions``).
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from kernel_sandbox.spec.times import duration


class NoValue:
    """What a map holds under a key it does not have, or one of Go's typed nils: false, empty, and ``null`` in JSON.

    ``seen`` is what functions see of it.
    """

    def __init__(self, text: str, seen: object = None) -> None:
        self._text = text
        self.seen = seen

    def __str__(self) -> str:
        return self._text


class Duration(int):
    """Nanoseconds that print as Go's time.Duration."""


NO_VALUE = NoValue("<no value>")
NIL = NoValue("<nil>")
_NIL_SLICE = NoValue("[]", ())
_NIL_MAP = NoValue("map[]", {})


def go_type(value: object) -> str:
    """The name Go's messages have for the type of a value."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}"}
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    if isinstance(value, tuple):
        return names[list]
    return "<nil>" if value is None else names.get(type(value), type(value).__name__)


def truth(value: object) -> bool:
    """False for false, 0, nil and what is empty; every struct is true."""
    return True if isinstance(value, msgspec.Struct) else not isinstance(value, NoValue) and bool(value)


def struct_fields(value: msgspec.Struct) -> dict[str, Any]:
    """A struct's values by the names its JSON has; what it leaves empty, or out, is nil of its type."""
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    fields = {encoded: getattr(value, attribute) for encoded, attribute in names}
    fields |= {name: Duration(fields[name]) for name in _durations(type(value))}
    if any(each is None or each is msgspec.UNSET for each in fields.values()):
        nils = _nils(type(value))
        return {name: nils[name] if each is None or each is msgspec.UNSET else each for name, each in fields.items()}
    return fields


@functools.cache
def _durations(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a struct that are marked as nanoseconds."""
    marks = ((each.encode_name, getattr(each.type, "__metadata__", ())) for each in msgspec.structs.fields(struct))
    return tuple(name for name, metas in marks if any((meta.extra or {}).get("unit") == "ns" for meta in metas))


@functools.cache
def _nils(struct: type[msgspec.Struct]) -> dict[str, object]:
    """What nil is in each field of a struct."""
    return {each.encode_name: _nil(each.type) for each in msgspec.structs.fields(struct)}


def _nil(type_: object) -> object:
    """The zero value of Go's type: of a string that is the empty one."""
    if str in get_args(type_):
        return ""
    origins = {get_origin(each) for each in get_args(type_)}
    if tuple in origins:
        return _NIL_SLICE
    return _NIL_MAP if Mapping in origins or dict in origins else NIL


def sorted_items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A map's entries in the order Go prints and ranges over them."""
    return sorted(value.items(), key=lambda item: str(item[0]))


class Verb(NamedTuple):
    """One ``%-08.3f`` of a format: flags, width, precision and the letter."""

    flags: str = ""
    width: int = 0
    precision: int | None = None
    letter: str = "v"


def show(value: object, verb: Verb = Verb()) -> str:  # noqa: B008 - immutable
    """A value as fmt prints it: ``%v`` unless told otherwise."""
    if isinstance(value, list | tuple) and verb.letter != "T":
        return "[" + " ".join(show(each, verb) for each in value) + "]"
    if isinstance(value, Mapping) and verb.letter != "T":
        entries = (f"{show(key, verb)}:{show(each, verb)}" for key, each in sorted_items(value))
        return "map[" + " ".join(entries) + "]"
    if isinstance(value, msgspec.Struct) and verb.letter != "T":
        return "{" + " ".join(show(each, verb) for each in struct_fields(value).values()) + "}"
    return _pad(_scalar(value, verb), verb, value)


def _scalar(value: object, verb: Verb) -> str:
    if verb.letter == "T":
        return go_type(value)
    if verb.letter == "v":
        return _plain(value, verb)
    if isinstance(value, bool):
        return _boolean(value, verb)
    if isinstance(value, int):
        return _integer(value, verb)
    if isinstance(value, float):
        return _real(value, verb)
    return _text(value, verb) if isinstance(value, str) else _mismatch(value, verb)


def _plain(value: object, verb: Verb) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _real(value, verb)
    if isinstance(value, Duration):
        return duration(value)
    if isinstance(value, int) and "+" in verb.flags:
        return f"{value:+}"
    return str(value)[: verb.precision] if isinstance(value, str) else str(value)


def _boolean(value: bool, verb: Verb) -> str:
    return _plain(value, verb) if verb.letter == "t" else _mismatch(value, verb)


def _integer(value: int, verb: Verb) -> str:
    if verb.letter in "dxXob":
        return format(value, ("+" if "+" in verb.flags else "") + ("#" if "#" in verb.flags else "") + verb.letter)
    if verb.letter in "cqU" and 0 <= value < 0x110000:
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb.letter]
    return _mismatch(value, verb)


def _real(value: float, verb: Verb) -> str:
    if verb.letter == "v" or (verb.letter == "g" and verb.precision is None):
        return _shortest(value)
    if verb.letter in "eEfFgG":
        precision = 6 if verb.precision is None else verb.precision
        return _go_special(format(value, f"{'+' if '+' in verb.flags else ''}.{precision}{verb.letter}"))
    return _mismatch(value, verb)


def _shortest(value: float) -> str:
    """The fewest digits that read back as the value; with an exponent from 1e-5 down and 1e+06 up."""
    candidates = (format(value, f".{precision}e") for precision in range(17))
    scientific = next((text for text in candidates if float(text) == value), repr(value))
    exponent = int(scientific.partition("e")[2] or 0)
    fixed = -4 <= exponent < 6 or "e" not in scientific
    return _go_special(repr(value).removesuffix(".0") if fixed else scientific)


def _go_special(text: str) -> str:
    return {"nan": "NaN", "inf": "+Inf", "+inf": "+Inf", "-inf": "-Inf"}.get(text.lower(), text)


def _text(value: str, verb: Verb) -> str:
    if verb.letter == "s":
        return value[: verb.precision]
    if verb.letter == "q":
        return quote(value[: verb.precision])
    if verb.letter in "xX":
        return value.encode().hex().upper() if verb.letter == "X" else value.encode().hex()
    return _mismatch(value, verb)


def _mismatch(value: object, verb: Verb) -> str:
    return f"%!{verb.letter}({typed(value)})"


def typed(value: object) -> str:
    return "<nil>" if value is None else f"{go_type(value)}={show(value)}"


def _pad(text: str, verb: Verb, value: object) -> str:
    if "-" in verb.flags:
        return text.ljust(verb.width)
    if "0" in verb.flags:
        return text.zfill(verb.width) if isinstance(value, int | float) else text.rjust(verb.width, "0")
    return text.rjust(verb.width)


def quote(text: str) -> str:
    """The text as a Go string literal."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    short = {
        "\a": "a",
        "\b": "b",
        "\f": "f",
        "\n": "n",
        "\r": "r",
        "\t": "t",
        "\v": "v",
        "\\": "\\",
        '"': '"',
    }
    if character in short:
        return "\\" + short[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{3})|)", re.DOTALL
)
_SHORT_ESCAPES = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))


def unquote(text: str) -> str:
    """Resolve the escapes of Go's string literals. Raises ValueError for one there is not."""

    def character(found: re.Match[str]) -> str:
        short, *codes, octal = found.groups()
        if short:
            return _SHORT_ESCAPES[short]
        code = next((code for code in codes if code), None)
        if code is None and octal is None:
            raise ValueError("unknown escape")
        return chr(int(code, 16) if code else int(octal, 8))

    return _ESCAPE.sub(character, text)


def number(text: str) -> int | float:
    """A Go number: ``0x10``, ``0b1``, ``0o7``, ``1_000``, ``1e3``. Raises ValueError if it is none, OverflowError."""
    try:
        value = int(text, 0) if not re.fullmatch(r"[+-]?0\d+", text) else int(text, 8)
    except ValueError:
        return float(text)
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError
    return value
