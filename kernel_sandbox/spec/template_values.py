"""Go's view of values, as its packages text/template and fmt document it: truth, printing, the functions.

What belongs here knows nothing of templates: plain functions on plain values. A mapping is Go's map, a list or
tuple its slice, a ``msgspec.Struct`` its struct (fields by their encoded names), None its nil. Functions raise
``ValueError`` with Go's words; `kernel_sandbox.spec.template` adds where it happened.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from kernel_sandbox.spec.json_text import harmless


class NoValue:
    """What a map holds under a key it does not have, or one of Go's typed nils: false, empty, and ``null`` in JSON.

    ``seen`` is what functions see of it.
    """

    def __init__(self, text: str, seen: object = None) -> None:
        self._text = text
        self.seen = seen

    def __str__(self) -> str:
        return self._text


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
    if any(each is None or each is msgspec.UNSET for each in fields.values()):
        nils = _nils(type(value))
        return {name: nils[name] if each is None or each is msgspec.UNSET else each for name, each in fields.items()}
    return fields


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
    return f"%!{verb.letter}({_typed(value)})"


def _typed(value: object) -> str:
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


def _print(*values: object) -> str:
    """Blanks stand between two operands of which neither is a string."""
    text = ""
    for previous, value in zip((None, *values), values, strict=False):
        blank = text and not isinstance(previous, str) and not isinstance(value, str)
        text += (" " if blank else "") + show(value)
    return text


def _println(*values: object) -> str:
    return " ".join(show(value) for value in values) + "\n"


_VERB = re.compile(r"%([-+# 0]*)(\d{0,4})(?:(\.)(\d{0,4}))?(.?)", re.DOTALL)


def _printf(format: object, *values: object) -> str:
    remaining = list(values)

    def fill(found: re.Match[str]) -> str:
        flags, width, dot, precision, letter = found.groups()
        if letter == "%":
            return "%"
        if not letter:
            return "%!(NOVERB)"
        if not remaining:
            return f"%!{letter}(MISSING)"
        return show(remaining.pop(0), Verb(flags, int(width or 0), int(precision or 0) if dot else None, letter))

    text = _VERB.sub(fill, _string(format))
    return text + (f"%!(EXTRA {', '.join(map(_typed, remaining))})" if remaining else "")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type for value; expected string; got {go_type(value)}")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"wrong type for value; expected int; got {go_type(value)}")
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"wrong type for value; expected []string; got {go_type(value)}")
    return list(value)


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | tuple | Mapping):
        return len(value)
    raise ValueError("len of nil pointer" if value is None else f"len of type {go_type(value)}")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _index_one(value, key)
    return value


def _index_one(value: object, key: object) -> object:
    if isinstance(value, Mapping):
        if not isinstance(key, str):
            raise ValueError(f"value has type {go_type(key)}; should be string")
        # Go answers with the zero value of what the map holds: of a map of strings, the empty one.
        zero = "" if all(isinstance(each, str) for each in value.values()) else None
        return value.get(key, zero)
    if value is None:
        raise ValueError("index of untyped nil")
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"can't index item of type {go_type(value)}")
    items: Any = value.encode() if isinstance(value, str) else value
    if not isinstance(key, int) or isinstance(key, bool):
        raise ValueError(f"cannot index slice/array with type {go_type(key)}")
    if not 0 <= key < len(items):
        raise ValueError(f"index out of range: {key}")
    return items[key]


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"can't slice item of type {go_type(value)}")
    if len(bounds) > 2:
        raise ValueError(f"too many slice indexes: {len(bounds)}")
    numbers = [_int(bound) for bound in bounds]
    start, end = (numbers + [0, len(value)][len(numbers) :])[:2]
    for bound in (start, end):
        if not 0 <= bound <= len(value):
            raise ValueError(f"index out of range: {bound}")
    if start > end:
        raise ValueError(f"invalid slice index: {start} > {end}")
    return value[start:end]


def _kind(value: object) -> type | None:
    return next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)


def _equal(first: object, second: object) -> bool:
    if first is None or second is None:
        return first is second
    if _kind(first) != _kind(second):
        raise ValueError("incompatible types for comparison")
    if _kind(first) is None:
        raise ValueError(f"non-comparable type {show(first)}: {go_type(first)}")
    return first == second


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _less(first: Any, second: Any) -> bool:
    if _kind(first) in (None, bool) or _kind(second) in (None, bool):
        raise ValueError("invalid type for comparison")
    if _kind(first) != _kind(second):
        raise ValueError("incompatible types for comparison")
    return bool(first < second)


def _json(value: object) -> str:
    return harmless(msgspec.json.encode(value, order="deterministic", enc_hook=str).decode())


def _title(text: object) -> str:
    return re.sub(r"\b\w", lambda found: found[0].upper(), _string(text))


def _pad_with_spaces(text: object, before: object, after: object) -> str:
    source = _string(text)
    return " " * _int(before) + source + " " * _int(after) if source else source


def _truncate(text: object, length: object) -> str:
    if _int(length) < 0:
        raise ValueError(f"slice bounds out of range [:{length}]")
    return _string(text)[: _int(length)]


class Function(NamedTuple):
    """A function of the language, with how many arguments it takes; ``most`` is None when there is no limit."""

    call: Callable[..., object]
    least: int
    most: int | None


FUNCTIONS = {
    "eq": Function(_eq, 1, None),
    "ne": Function(lambda first, second: not _equal(first, second), 2, 2),
    "lt": Function(_less, 2, 2),
    "le": Function(lambda first, second: _less(first, second) or _equal(first, second), 2, 2),
    "gt": Function(lambda first, second: not (_less(first, second) or _equal(first, second)), 2, 2),
    "ge": Function(lambda first, second: not _less(first, second), 2, 2),
    "not": Function(lambda value: not truth(value), 1, 1),
    # Here for their arity: a template evaluates these two itself, no further than it must.
    "and": Function(lambda *values: values[-1], 1, None),
    "or": Function(lambda *values: values[-1], 1, None),
    "index": Function(_index, 1, None),
    "slice": Function(_slice, 1, None),
    "len": Function(_len, 1, 1),
    "print": Function(_print, 0, None),
    "printf": Function(_printf, 1, None),
    "println": Function(_println, 0, None),
    "json": Function(_json, 1, 1),
    "split": Function(lambda text, separator: _split(_string(text), _string(separator)), 2, 2),
    "join": Function(lambda texts, separator: _string(separator).join(_strings(texts)), 2, 2),
    "title": Function(_title, 1, 1),
    "lower": Function(lambda text: _string(text).lower(), 1, 1),
    "upper": Function(lambda text: _string(text).upper(), 1, 1),
    "pad": Function(_pad_with_spaces, 3, 3),
    "truncate": Function(_truncate, 2, 2),
}
"""Go's predefined functions that Docker's users use, then Docker's own (its manual: "Format command output")."""


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)
