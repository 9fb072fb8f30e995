"""The functions that templates have: Go's, as its package text/template documents them, and Docker's.

What belongs here knows nothing of templates: plain functions on the values of ``template_values``. They raise
``ValueError`` with Go's words; `kernel_sandbox.spec.template` adds where it happened.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from kernel_sandbox.spec.json_text import harmless
from kernel_sandbox.spec.template_values import Duration, Verb, go_type, show, truth, typed

_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JAVASCRIPT = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', **{character: f"\\u{ord(character):04X}" for character in "<>&="}}
)


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
    return text + (f"%!(EXTRA {', '.join(map(typed, remaining))})" if remaining else "")


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
    plain = int(value) if isinstance(value, Duration) else value
    return harmless(msgspec.json.encode(plain, order="deterministic", enc_hook=str).decode())


def _html(*values: object) -> str:
    return _print(*values).translate(_HTML)


def _js(*values: object) -> str:
    return _print(*values).translate(_JAVASCRIPT)


def _urlquery(*values: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values), safe="~")


def _title(text: object) -> str:
    return re.sub(r"\b\w", lambda found: found[0].upper(), _string(text))


def _pad_with_spaces(text: object, before: object, after: object) -> str:
    source = _string(text)
    return " " * _int(before) + source + " " * _int(after) if source else source


def _truncate(text: object, length: object) -> str:
    """Of so many bytes, as with Docker; a character that is cut shows that it is."""
    if _int(length) < 0:
        raise ValueError(f"runtime error: slice bounds out of range [:{length}]")
    return _string(text).encode()[: _int(length)].decode(errors="replace")


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


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
    "html": Function(_html, 0, None),
    "js": Function(_js, 0, None),
    "urlquery": Function(_urlquery, 0, None),
    "json": Function(_json, 1, 1),
    "split": Function(lambda text, separator: _split(_string(text), _string(separator)), 2, 2),
    "join": Function(lambda texts, separator: _string(separator).join(_strings(texts)), 2, 2),
    "title": Function(_title, 1, 1),
    "lower": Function(lambda text: _string(text).lower(), 1, 1),
    "upper": Function(lambda text: _string(text).upper(), 1, 1),
    "pad": Function(_pad_with_spaces, 3, 3),
    "truncate": Function(_truncate, 2, 2),
}
"""Go's predefined functions, but for ``call``, then Docker's own (its manual: "Format command output")."""

HEADER_FUNCTIONS = {
    name: Function(lambda title, *_: _string(title), 1, None)
    for name in ("join", "json", "lower", "split", "title", "truncate", "upper")
}
"""What these do to a column's title, in place of what they do to its values: nothing."""
