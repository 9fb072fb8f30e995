"""Cells compiled as IPython compiles them: all but the last line as statements, the last one interactively."""

import ast

import pytest

from magics.caller import keeps_value


def run_line_magic() -> bool:
    """Stands for IPython's method of this name, which calls the magic."""
    SEEN.append(keeps_value())
    return SEEN[-1]


SEEN: list[bool] = []


def seen(source: str, mode: str) -> bool:
    SEEN.clear()
    code = compile(source, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    exec(code, {"run_line_magic": run_line_magic})
    return SEEN[0]


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("run_line_magic()", "exec"),
        ("run_line_magic()", "single"),
        ("for i in range(2):\n    run_line_magic()\n", "exec"),
        ("def f():\n    run_line_magic()\nf()\n", "exec"),
        ("if True:\n    run_line_magic()\nelse:\n    pass\n", "single"),
    ],
)
def test_a_statement_drops_the_value(source: str, mode: str) -> None:
    assert not seen(source, mode)


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("x = run_line_magic()", "exec"),
        ("x = run_line_magic()", "single"),
        ("x, y = run_line_magic(), 1", "exec"),
        ("def f():\n    x = run_line_magic()\n    return x\nf()\n", "exec"),
        ("def f():\n    return run_line_magic()\nf()\n", "exec"),
        ("(run_line_magic()).real", "single"),
        ("run_line_magic()", "eval"),
    ],
)
def test_an_assignment_and_an_expression_keep_it(source: str, mode: str) -> None:
    assert seen(source, mode)


def test_without_a_cell_the_value_is_kept() -> None:
    assert keeps_value()
