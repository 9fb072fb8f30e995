"""``--format`` of tables and documents: Docker's keywords, heads and failures."""

import msgspec
import pytest

from kernel_sandbox.commands.formatting import formatted, rendered


class Row(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    tag: str


ROWS = (Row("web", "v1"), Row("db", "v2"))
HEADERS = {"Name": "NAME", "Tag": "TAG"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  {{.Name}} ", "web\ndb"),
        ("{{.Name}}\\t{{.Tag}}", "web\tv1\ndb\tv2"),
        ("table{{.Tag}}", "TAG\nv1\nv2"),
        ("table   {{lower .Tag}}  ", "TAG\nv1\nv2"),
        ("table {{json .Tag}}", 'TAG\n"v1"\n"v2"'),
        ('table {{split .Tag "v"}}', "TAG\n[ 1]\n[ 2]"),
        ("table {{truncate .Tag 1}}", "TAG\nv\nv"),
        ("table {{json .}}", '\n{"Name":"web","Tag":"v1"}\n{"Name":"db","Tag":"v2"}'),
        ("json", '{"Name":"web","Tag":"v1"}\n{"Name":"db","Tag":"v2"}'),
        ("json ", "json\njson"),
    ],
)
def test_what_a_format_shows_of_rows(text: str, shown: str) -> None:
    assert formatted(text, ROWS, HEADERS).text() == shown


def test_what_a_map_does_not_have_is_no_value_but_what_a_document_does_not_have_is_an_error() -> None:
    document = {"Labels": {"a": "1"}}
    assert rendered("{{.Labels.b}}", (document,)).lines == ("<no value>",)
    failed = rendered("{{.Labels.b.c}}{{.Labels.b | len}}", (document,))
    assert failed.lines == ("",)
    assert 'map has no entry for key "b"' in str(failed.errors[0])
