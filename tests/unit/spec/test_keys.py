import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.keys import KeySequence, parse


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@", b"\0"),
        ("ctrl-a,ctrl-z", b"\x01\x1a"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
        ("ctrl-e,e", b"\x05e"),
        ("a", b"a"),
        ("~,.", b"~."),
        ("DEL", b"\x7f"),
    ],
)
def test_keys_are_read_as_docker_reads_them(text: str, keys: bytes) -> None:
    assert parse(text) == keys


@pytest.mark.parametrize(
    "text", ["ctrl-", "ctrl-xx", "ctrl-A", "ctrl-1", "a,", ",", "a,,b", "ab", "é", "Ctrl-a", "del"]
)
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value) == f"Invalid detach keys ({text}) provided"


def test_a_sequence_that_is_broken_off_is_passed_on_with_the_key_that_broke_it() -> None:
    keys = KeySequence(b"\x10\x11")
    assert [keys.feed(typed) for typed in (b"a\x10", b"\x10", b"\x10", b"x", b"\x10")] == [
        b"a",
        b"\x10\x10",
        b"",
        b"\x10x",
        b"",
    ]
    assert not keys.is_complete
    assert keys.flush() == b"\x10"


def test_what_follows_a_complete_sequence_goes_nowhere() -> None:
    keys = KeySequence(b"\x10\x11")
    assert (keys.feed(b"before\x10\x11after"), keys.is_complete, keys.feed(b"later")) == (b"before", True, b"")
