"""Frames come out of the decoder as they went in, however the bytes are cut."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.runtime.frames import HEADER_SIZE, MAX_PAYLOAD, Decoder, Frame, Kind

FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=300), st.integers(0, 2**64 - 1), st.booleans())
)


@given(FRAMES, st.lists(st.integers(0, 400), max_size=30), st.integers(0, 20))
def test_any_cut_gives_the_same_frames_whatever_zeros_are_between_them(frames, cuts, zeros):
    data = b"".join(frame.encode() + bytes(zeros) for frame in frames)
    decoder, seen, start = Decoder(), [], 0
    for length in (*cuts, len(data)):
        seen += decoder.feed(data[start : start + length])
        start += length
    assert seen == frames


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_frames_or_a_value_error(data):
    try:
        frames = list(Decoder().feed(data))
    except ValueError:
        return
    assert sum(HEADER_SIZE + len(frame.payload) for frame in frames) <= len(data)


def test_a_frame_that_claims_to_be_huge_is_refused_from_its_header():
    with pytest.raises(ValueError, match="bytes"):
        list(Decoder().feed(struct.pack(">BB2xIQ", Kind.STDOUT, 0, MAX_PAYLOAD + 1, 0)))
