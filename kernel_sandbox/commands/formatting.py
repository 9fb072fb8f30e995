"""``--format``: Docker's templates over rows and documents, and its keywords ``table`` and ``json``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.commands.results import Lines, Result, Table
from kernel_sandbox.spec.json_text import harmless

if TYPE_CHECKING:
    from kernel_sandbox.spec.template import Template

_TABLE = "table"
_JSON = "json"
_AS_JSON = (_JSON, "{{json .}}")
_IN_HTML = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
_ESCAPES = {"\\t": "\t", "\\n": "\n"}


def formatted(
    text: str, rows: Sequence[msgspec.Struct], headers: Mapping[str, str], labels: Sequence[Mapping[str, str]] = ()
) -> Result:
    """One line for each row, or a table of what the template names. *headers* are the columns' heads by field.

    *labels* are the rows' own, for ``{{.Label "key"}}``. Raises TemplateError.
    """
    if text in _AS_JSON:
        return Lines(tuple(map(_in_json, rows)))
    from kernel_sandbox.spec import template

    bare = text.removeprefix(_TABLE).strip(" ")
    for written, meant in _ESCAPES.items():
        bare = bare.replace(written, meant)
    compiled = template.compile(bare)
    methods = [_label_of(each) for each in labels] or [{}] * len(rows)
    lines = tuple(compiled.render(row, methods=each) for row, each in zip(rows, methods, strict=True))
    if not text.startswith(_TABLE):
        return Lines(lines)
    head = compiled.render_head(headers, {"Label": _head_of_label})
    cells = tuple(tuple(line.split("\t")) for line in lines)
    return Table(tuple(head.split("\t")), cells, tuple(rows))


def _in_json(row: msgspec.Struct) -> str:
    """As Go's json.Marshal writes it, which keeps clear of HTML."""
    return harmless(msgspec.json.encode(row, enc_hook=str, order="sorted").decode().translate(_IN_HTML))


def _label_of(labels: Mapping[str, str]) -> Mapping[str, Callable[[str], str]]:
    return {"Label": lambda key: labels.get(key, "")}


def _head_of_label(key: str) -> str:
    """``a.b-c`` has the head ``b c``, as with Docker."""
    return re.sub("[-_]", " ", key.rpartition(".")[2])


def rendered(text: str, documents: Sequence[object], strict: bool = True) -> Lines:
    """``--format`` over documents: one line for each; *strict*: as ``inspect`` has it.

    That shows what a map does not have as ``<no value>``, and where the template does not fit a document looks at its
    JSON, of which all that is named has to be there. Such a template leaves an empty line, as with Docker. Raises
    TemplateError for one that is none.
    """
    from kernel_sandbox.spec import template

    compiled = template.compile("{{json .}}" if text == _JSON else text)
    lines: list[str] = []
    for document in documents:
        try:
            lines.append(_filled(compiled, document, strict))
        except template.TemplateError as error:
            return Lines((*lines, ""), errors=(error,))
    return Lines(tuple(lines))


def _filled(compiled: Template, document: object, strict: bool) -> str:
    from kernel_sandbox.spec.template import TemplateError

    try:
        return compiled.render(document)
    except TemplateError:
        if not strict:
            raise
        return compiled.render(document, strict=True)


def to_json(documents: Sequence[object]) -> str:
    """An array as ``inspect`` prints it, indented by four."""
    return harmless(msgspec.json.format(msgspec.json.encode(documents, enc_hook=str), indent=4).decode())
