import io

from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.runtime.frames import Frame, Kind
from magics.streams import Streams


def copied(frames: list[Frame]) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    Streams(stdout, stderr).copy(frames)
    return stdout.getvalue(), stderr.getvalue()


@given(st.text(), st.integers(1, 4))
def test_text_cut_anywhere_arrives_whole(text: str, size: int) -> None:
    data = text.encode()
    frames = [Frame(Kind.STDOUT, data[start : start + size]) for start in range(0, len(data), size)]
    assert copied(frames) == (text, "")


def test_the_streams_are_decoded_apart() -> None:
    euro = "€".encode()
    frames = [Frame(Kind.STDOUT, euro[:1]), Frame(Kind.STDERR, b"no\n"), Frame(Kind.STDOUT, euro[1:])]
    assert copied(frames) == ("€", "no\n")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert copied([Frame(Kind.STDOUT, b"a\xffb\xe2\x82")]) == ("a�b�", "")
