import io
import threading

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.tar import CHUNK
from kernel_sandbox.storage.threads import WriteBehind, read_ahead

CONTENT = bytes(range(256)) * (5 * CHUNK // 256) + b"end"


class Failing:
    """A source that breaks after some bytes, and a sink that never takes any."""

    def __init__(self) -> None:
        self.source = io.BytesIO(CONTENT)

    def read(self, size: int) -> bytes:
        if self.source.tell() > 2 * CHUNK:
            raise CorruptContent("broken")
        return self.source.read(size)

    def write(self, data: bytes) -> int:
        raise OSError("full")


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_what_is_read_ahead_is_what_is_there():
    with read_ahead(io.BytesIO(CONTENT)) as ahead:
        assert ahead.read(3) == CONTENT[:3]
        assert ahead.read() == CONTENT[3:]
        assert ahead.read(1) == b""


def test_an_error_of_reading_comes_after_what_was_read():
    with read_ahead(Failing()) as ahead, pytest.raises(CorruptContent, match="broken"):
        while ahead.read(1000):
            pass


def test_a_reader_that_gives_up_leaves_no_thread():
    with read_ahead(io.BytesIO(CONTENT * 10)) as ahead:
        ahead.read(1)


def test_what_is_written_behind_is_all_there_at_the_end():
    sink = io.BytesIO()
    with WriteBehind(sink) as behind:
        for start in range(0, len(CONTENT), 100_000):
            assert behind.write(CONTENT[start : start + 100_000])
    assert sink.getvalue() == CONTENT


def test_a_little_is_written_without_a_thread():
    sink = io.BytesIO()
    with WriteBehind(sink) as behind:
        behind.write(b"a ")
        behind.write(b"little")
        assert not any(thread.name == "write behind" for thread in threading.enumerate())
    assert sink.getvalue() == b"a little"


def test_an_error_of_writing_is_raised_at_the_end_at_latest():
    with pytest.raises(OSError, match="full"), WriteBehind(Failing()) as behind:
        behind.write(b"a little")
    with pytest.raises(OSError, match="full"), WriteBehind(Failing()) as behind:
        for _ in range(100):
            behind.write(bytes(CHUNK))


def test_an_error_of_the_caller_is_the_callers():
    with pytest.raises(KeyError), WriteBehind(Failing()) as behind:
        behind.write(bytes(3 * CHUNK))
        raise KeyError
