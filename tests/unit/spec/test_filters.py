"""``--filter``: how it is written, and what its values match."""

import pytest

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.filters import Filters, parse


def filters(*texts: str) -> Filters:
    return Filters.of(map(parse, texts))


def test_a_filter_is_a_name_and_a_value() -> None:
    assert parse("label=a=b") == ("label", "a=b")
    assert parse(" Status = exited ") == ("status", "exited")


def test_a_filter_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match=r"bad format of filter \(expected name=value\)"):
        parse("status")


def test_an_empty_filter_is_none() -> None:
    assert filters("") == Filters()


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(SandboxError, match="Invalid filter 'colour'"):
        filters("label=a", "colour=red").check("label")


def test_the_same_filter_twice_means_either() -> None:
    wanted = filters("status=exited", "status=created")
    assert wanted.allows("status", "created")
    assert not wanted.allows("status", "running")
    assert wanted.allows("name", "anything")


def test_patterns_are_found_anywhere() -> None:
    assert filters("name=eb").matches("name", "web")
    assert filters("name=^/web$").matches("name", "/web", "web")
    assert not filters("name=^b").matches("name", "web")


@pytest.mark.parametrize("wrong", ["[", "(", "*", "a{99999999999}"])
def test_a_wrong_pattern_matches_nothing_but_itself(wrong: str) -> None:
    assert not filters(f"name={wrong}").matches("name", "web")
    assert filters(f"name={wrong}").matches("name", wrong)


def test_all_labels_are_wanted() -> None:
    labels = {"a": "1", "b": ""}
    assert filters("label=a", "label=b").fits_labels(labels)
    assert filters("label=a=1").fits_labels(labels)
    assert not filters("label=a=2").fits_labels(labels)
    assert not filters("label=a", "label=c").fits_labels(labels)
    assert not filters("label!=a").fits_labels(labels)
    assert filters("label!=a=2").fits_labels(labels)


def test_true_and_false() -> None:
    assert filters("dangling=1").flag("dangling") is True
    assert filters("dangling=false").flag("dangling") is False
    assert filters().flag("dangling") is None
    with pytest.raises(SandboxError, match=r"Invalid filter 'dangling=\[maybe\]'"):
        filters("dangling=maybe").flag("dangling")
