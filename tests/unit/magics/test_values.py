from dataclasses import dataclass

import pytest

from kernel_sandbox.commands.results import Table
from magics.values import Output, Rows


@dataclass(frozen=True)
class Item:
    id: str
    size: int


ROWS = Rows(
    Table(("ID", "SIZE"), (("ab", "1kB"), ("<b>&", "2kB")), (Item("abcdef", 1000), Item("<b>&cd", 2000))),
)


def test_a_row_has_the_cells_by_header_and_the_values_by_name() -> None:
    assert [(row["ID"], row.id, row["SIZE"], row.size) for row in ROWS] == [
        ("ab", "abcdef", "1kB", 1000),
        ("<b>&", "<b>&cd", "2kB", 2000),
    ]
    assert len(ROWS) == 2
    assert ROWS[-1].size == 2000
    assert [row.id for row in ROWS[:1]] == ["abcdef"]
    assert dict(ROWS[0]) == {"ID": "ab", "SIZE": "1kB"}
    assert "size" in dir(ROWS[0])


def test_what_a_row_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        ROWS[0]["NAMES"]
    with pytest.raises(AttributeError):
        _ = ROWS[0].names


def test_text_is_dockers_table_and_html_is_escaped() -> None:
    bundle = ROWS._repr_mimebundle_()
    assert bundle["text/plain"] == "ID        SIZE\nab        1kB\n<b>&      2kB"
    assert "&lt;b&gt;&amp;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]


def test_a_caption_is_told_below_and_a_drawing_keeps_its_spaces() -> None:
    table = Table(("LAYER",), (("└── a",), ("    └── b",)), (None, None), caption="2 <layers>")
    bundle = Rows(table)._repr_mimebundle_()
    assert bundle["text/plain"].endswith("    └── b\n\n2 <layers>")
    assert "<caption>2 &lt;layers&gt;</caption>" in bundle["text/html"]
    assert "white-space: pre" in bundle["text/html"] and "    └── b" in bundle["text/html"]


def test_output_reads_as_what_was_written() -> None:
    output = Output("out\n", "err\n", 3)
    assert str(output) == "out\n"
    assert output._repr_mimebundle_() == {"text/plain": "out\nerr"}
