import pytest

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("abc", "abc"),
        ("*", "abc"),
        ("*", ""),
        ("a*", "abc"),
        ("a*/b", "abc/b"),
        ("a*b*c*d*e*/f", "axbxcxdxe/f"),
        ("a**", "abc"),
        ("a?c", "abc"),
        ("a?b", "a☺b"),
        ("ab[c]", "abc"),
        ("ab[b-d]", "abc"),
        ("ab[^e-g]", "abc"),
        ("[a-ζ]*", "α"),
        (r"a\*b", "a*b"),
        (r"[\]a]", "]"),
        (r"[\-x]", "-"),
        (r"[x\-]", "-"),
        ("*ab*ab", "abxabab"),
        ("[^a][^a]", "b/"),
        ("a.c", "a.c"),
    ],
)
def test_a_pattern_fits(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*", "a/b"),
        ("a*", "ab/c"),
        ("a?b", "a/b"),
        ("a.c", "abc"),
        ("abc", "abcd"),
        ("abc", "xabc"),
        ("ab[^bc]", "abc"),
        ("[d-b]", "c"),
        (r"a\*b", "ab"),
        ("a*b", "a\nbc"),
    ],
)
def test_a_pattern_does_not_fit(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["[", "[a", "[]a]", "[^", "[^]a]", "[-x]", "[x-]", "[a-b-c]", "a[", "\\", "[\\", "[a\\"]
)
def test_what_is_no_pattern_is_said_in_gos_words(pattern: str) -> None:
    with pytest.raises(SandboxError, match="syntax error in pattern"):
        matches(pattern, "a")


def test_a_hostile_pattern_costs_no_time() -> None:
    assert not matches("a*" * 30 + "b", "a" * 100)
