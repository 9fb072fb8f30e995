from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.errors import UsageError
from magics.arguments import expand, words

VARIABLES = {
    "name": "web",
    "text": 'it\'s a "b" $name',
    "numbers": [1, 2],
    "table": {"key": "value"},
    "thing": SimpleNamespace(id="abc", rows=[SimpleNamespace(id="first")]),
}


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("$name", "web"),
        ("{name}", "web"),
        ("a-$name-b", "a-web-b"),
        ("a{name}b{name}", "awebbweb"),
        ("{thing.id}", "abc"),
        ("{thing.rows[0].id}", "first"),
        ("{table[key]}", "value"),
        ("{numbers[1]}", "2"),
        ("$numbers", "[1, 2]"),
    ],
)
def test_a_variable_that_resolves_is_put_in(word: str, expanded: str) -> None:
    assert expand(word, VARIABLES) == expanded


@pytest.mark.parametrize(
    "word",
    [
        "$HOME",
        "${name}",
        "$$",
        "$$name",
        "{print $1}",
        '{"name": 1}',
        "{name: 1}",
        "{}",
        "{0}",
        "{{name}}",
        "{{.Names}}",
        "{{json .Config}}",
        "{numbers[9]}",
        "{numbers[x]}",
        "{table[none]}",
        "{thing.none}",
        "{name!r}",
        "{name:>9}",
        "$1",
        "a$",
        "{name",
    ],
)
def test_what_does_not_resolve_stays_as_it_is_written(word: str) -> None:
    assert expand(word, VARIABLES) == word


def test_a_value_stays_one_word_and_is_not_expanded_again() -> None:
    assert words("run busybox echo $text '{text}'", VARIABLES) == (
        "run",
        "busybox",
        "echo",
        VARIABLES["text"],
        VARIABLES["text"],
    )


def test_a_key_in_quotes_reaches_the_field_without_them() -> None:
    assert words("echo {table['key']}", VARIABLES) == ("echo", "value")


def test_an_open_quotation_is_a_usage_error_of_one_line() -> None:
    with pytest.raises(UsageError, match="no closing quotation: run 'a"):
        words(" run 'a\n", VARIABLES)


@given(st.text())
def test_without_variables_every_word_is_itself(word: str) -> None:
    assert expand(word, {}) == word
