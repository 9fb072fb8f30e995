"""Whatever is typed, in whatever pieces: all of it is passed on, in order, up to the first whole sequence."""

from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.spec.keys import KeySequence

FEW = st.lists(st.sampled_from([0x10, 0x11, 0x61]), max_size=30).map(bytes)
SEQUENCES = st.lists(st.sampled_from([0x10, 0x11, 0x61]), min_size=1, max_size=4).map(bytes)


@given(SEQUENCES, st.lists(FEW))
def test_the_pieces_do_not_matter(sequence: bytes, pieces: list[bytes]) -> None:
    apart, whole = KeySequence(sequence), KeySequence(sequence)
    assert b"".join(map(apart.feed, pieces)) + apart.flush() == whole.feed(b"".join(pieces)) + whole.flush()
    assert apart.is_complete == whole.is_complete


@given(SEQUENCES, FEW, FEW)
def test_nothing_is_lost_but_the_sequence(sequence: bytes, before: bytes, after: bytes) -> None:
    keys = KeySequence(sequence)
    typed = before + b"-" + sequence + after
    passed = keys.feed(typed)
    assert keys.is_complete
    assert typed.startswith(passed + sequence)


@given(SEQUENCES, FEW)
def test_what_does_not_hold_the_sequence_passes_whole(sequence: bytes, typed: bytes) -> None:
    keys = KeySequence(sequence)
    if sequence not in typed:
        assert keys.feed(typed) + keys.flush() == typed
        assert not keys.is_complete
