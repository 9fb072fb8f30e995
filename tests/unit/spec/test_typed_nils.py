"""What a struct leaves empty, or out, is nil of its type to templates, as Go shows it."""

from collections.abc import Mapping

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from kernel_sandbox.spec.template import TemplateError, compile


class Inner(msgspec.Struct, rename="pascal"):
    status: str = "up"


class Outer(msgspec.Struct, rename="pascal"):
    id: str = "abc"
    binds: tuple[str, ...] | None = None
    options: Mapping[str, str] | UnsetType = UNSET
    inner: Inner | UnsetType = UNSET
    number: int | None = None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{.Binds}} {{.Options}} {{.Inner}} {{.Number}}", "[] map[] <nil> <nil>"),
        ("{{json .Binds}} {{json .Number}}", "null null"),
        ("{{len .Binds}} {{len .Options}}", "0 0"),
        ("{{range .Binds}}{{.}}{{else}}none{{end}}", "none"),
        ("{{if .Binds}}some{{else}}none{{end}} {{with .Inner}}{{.Status}}{{else}}none{{end}}", "none none"),
        ("{{.Id}} {{.ID}}", "abc abc"),
    ],
)
def test_a_nil_is_shown_by_its_type(text: str, shown: str) -> None:
    assert compile(text).render(Outer(), strict=True) == shown


def test_a_field_of_nil_is_an_error_that_names_what_is_missing() -> None:
    with pytest.raises(TemplateError, match=r'<\.Inner\.Status>: map has no entry for key "Inner"'):
        compile("{{.Inner.Status}}").render(Outer(), strict=True)
    assert compile("{{.Inner.Status}}").render(Outer(inner=Inner())) == "up"


def test_a_method_takes_a_string() -> None:
    methods = {"Label": lambda key: f"<{key}>"}
    assert compile('{{.Label "a.b"}}').render(Outer(), methods=methods) == "<a.b>"
    assert compile('{{range split "x,y" ","}}{{$.Label .}}{{end}}').render(Outer(), methods=methods) == "<x><y>"
    for wrong in ("{{.Label 1}}", '{{.Label "a" "b"}}', '{{.Id "a"}}'):
        with pytest.raises(TemplateError):
            compile(wrong).render(Outer(), methods=methods)
