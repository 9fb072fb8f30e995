"""Whatever the template and the value: an output or one line that says what is wrong."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.spec import template

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
plain = st.text().filter(lambda text: "{{" not in text and not text.endswith("{"))
tokens = """
    {{ }} {{- -}} if range with else end . .A .B $ $x := = | ( ) , "s" `r` 'c' 1 -2 3.5 0x1 nil true and or not eq
    lt index len print printf json upper split /* */ " ' ` \\ @ }
"""
pieces = st.lists(st.sampled_from((*tokens.split(), " ", "\n", "text")), max_size=14).map("".join)


def outcome(text: str, value: object) -> str:
    try:
        return template.compile(text).render(value)
    except template.TemplateError as error:
        assert str(error).startswith("template parsing error: template: :")
        assert len(str(error).splitlines()) == 1
        return ""


@given(plain, values)
def test_text_without_actions_is_itself(text: str, value: object) -> None:
    assert outcome(text, value) == text


@given(pieces, values)
def test_any_arrangement_of_tokens_ends_well(text: str, value: object) -> None:
    outcome(text, value)


@given(st.text(max_size=30).map(lambda text: "{{" + text + "}}"), values)
def test_any_action_ends_well(text: str, value: object) -> None:
    outcome(text, value)


@given(values.filter(lambda value: "nan" not in repr(value) and "inf" not in repr(value)))
def test_json_of_a_value_reads_back(value: object) -> None:
    assert json.loads(outcome("{{json .}}", value)) == value


@given(st.text())
def test_a_quoted_string_reads_back(text: str) -> None:
    quoted = outcome('{{printf "%q" .}}', text)
    assert outcome("{{" + quoted + "}}", None) == text


@given(st.lists(st.text(), max_size=5))
def test_range_visits_every_element_in_order(items: list[str]) -> None:
    assert outcome("{{range .}}<{{.}}>{{end}}", items) == "".join(f"<{item}>" for item in items)


@given(st.lists(st.text(alphabet="ab", max_size=3), min_size=1, max_size=4))
def test_join_undoes_split(items: list[str]) -> None:
    assert outcome('{{join (split . ",") ","}}', ",".join(items)) == ",".join(items)
