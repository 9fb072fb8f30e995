"""``--format``: Docker's templates over rows and documents, and its keywords ``table`` and ``json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kernel_sandbox.commands.results import Lines, Result, Table

_TABLE = "table "
_ESCAPES = {"\\t": "\t", "\\n": "\n"}


def formatted(text: str, rows: Sequence[msgspec.Struct], headers: Mapping[str, str]) -> Result:
    """One line for each row, or a table of what the template names. *headers* are the columns' heads by field.

    Raises TemplateError.
    """
    if text == "json":
        return Lines(tuple(msgspec.json.encode(row, enc_hook=str).decode() for row in rows))
    from kernel_sandbox.spec import template

    for written, meant in _ESCAPES.items():
        text = text.replace(written, meant)
    compiled = template.compile(text.removeprefix(_TABLE))
    lines = tuple(compiled.render(row) for row in rows)
    if not text.startswith(_TABLE):
        return Lines(lines)
    cells = tuple(tuple(line.split("\t")) for line in lines)
    return Table(tuple(compiled.render(headers).split("\t")), cells, tuple(rows))


def rendered(text: str, documents: Sequence[object]) -> Lines:
    """``inspect --format``: one line for each document. Raises TemplateError."""
    from kernel_sandbox.spec import template

    compiled = template.compile("{{json .}}" if text == "json" else text)
    return Lines(tuple(compiled.render(document, strict=True) for document in documents))
