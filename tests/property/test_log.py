"""Whatever is written into a log is read from it, however it is cut into segments, torn or followed."""

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_sandbox.engine import logs
from kernel_sandbox.engine.logs import Selection
from kernel_sandbox.runtime import log
from kernel_sandbox.runtime.frames import Decoder, Frame, Kind

OUTPUT = st.lists(
    st.tuples(
        st.sampled_from((Kind.STDOUT, Kind.STDERR)),
        st.one_of(
            st.binary(min_size=1, max_size=40),
            st.lists(st.sampled_from((b"a\n", b"\n", b"long line ", b"\r\n")), min_size=1).map(b"".join),
            st.integers(1, log.BLOCK + 100).map(lambda size: b"x" * size),
        ),
    ),
    max_size=30,
)


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return lambda: str(tmp_path_factory.mktemp("log") / "logs")


def write(path: str, output: list[tuple[Kind, bytes]], **limits: int) -> None:
    """Each piece at a time of its own: 1, 2, 3… nanoseconds."""
    with contextlib.closing(log.LogWriter(path, **limits)) as writer:
        for number, (kind, payload) in enumerate(output, 1):
            assert writer.append(Frame(kind, payload, number)) == b""


def streams(frames) -> dict[Kind, bytes]:
    joined: dict[Kind, bytes] = {}
    for frame in frames:
        joined[frame.kind] = joined.get(frame.kind, b"") + frame.payload
    return joined


def of(output) -> dict[Kind, bytes]:
    return streams(Frame(kind, payload) for kind, payload in output)


def lines(output) -> list[tuple[Kind, int, bytes]]:
    """Every line with its stream and time, in the order in which they began."""
    open_lines: dict[Kind, list] = {}
    found: list[list] = []
    for number, (kind, payload) in enumerate(output, 1):
        for piece in _split(payload):
            if kind not in open_lines:
                open_lines[kind] = [kind, number, b""]
                found.append(open_lines[kind])
            open_lines[kind][2] += piece
            if piece.endswith(b"\n"):
                del open_lines[kind]
    return [tuple(line) for line in found]


def _split(payload: bytes) -> list[bytes]:
    *whole, rest = payload.split(b"\n")
    return [piece + b"\n" for piece in whole] + ([rest] if rest else [])


@given(output=OUTPUT)
@settings(deadline=None)
def test_all_output_comes_back_on_its_stream(path, output):
    place = path()
    write(place, output)
    assert streams(logs.read(place, Selection(), None)) == of(output)


@given(output=OUTPUT, count=st.integers(0, 40))
@settings(deadline=None)
def test_the_tail_is_the_last_lines_of_both_streams(path, output, count):
    place = path()
    write(place, output)
    expected = lines(output)[-count:] if count else []
    assert streams(logs.read(place, Selection(tail=count), None)) == of((kind, text) for kind, _, text in expected)


@given(output=OUTPUT, since=st.integers(0, 31), until=st.integers(0, 31))
@settings(deadline=None)
def test_times_choose_whole_lines(path, output, since, until):
    place = path()
    write(place, output)
    expected = [(kind, text) for kind, time, text in lines(output) if since <= time <= until]
    assert streams(logs.read(place, Selection(since=since, until=until), None)) == of(expected)


@given(output=OUTPUT)
@settings(deadline=None)
def test_each_line_gets_its_own_time(path, output):
    place = path()
    write(place, output)
    expected = [(kind, b"1970-01-01T00:00:00.%09dZ " % time + text) for kind, time, text in lines(output)]
    shown = streams(logs.read(place, Selection(timestamps=True), None))
    assert {kind: sorted(_split(text)) for kind, text in shown.items()} == {
        kind: sorted(_split(text)) for kind, text in of(expected).items()
    }


@given(output=OUTPUT, cut=st.integers(1, 60))
@settings(deadline=None)
def test_a_torn_end_is_left_out_and_the_next_run_goes_on_after_it(path, output, cut):
    place = path()
    write(place, output)
    segment = Path(place, os.listdir(place)[0])
    os.truncate(segment, max(0, segment.stat().st_size - cut))
    whole = streams(logs.read(place, Selection(), None))
    assert all(of(output)[kind].startswith(text) for kind, text in whole.items())
    write(place, [(Kind.STDOUT, b"next")])
    assert streams(logs.read(place, Selection(), None)) == {**whole, Kind.STDOUT: whole.get(Kind.STDOUT, b"") + b"next"}


@given(output=OUTPUT, max_size=st.integers(1, 500), max_files=st.integers(1, 4), read_at_once=st.integers(1, 1 << 16))
@settings(deadline=None, max_examples=60)
def test_a_follower_reads_everything_though_segments_are_dropped(path, output, max_size, max_files, read_at_once):
    place = path()
    writer = log.LogWriter(place, max_size, max_files)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    decoder, seen, offset = Decoder(), [], 0
    with ours, theirs, contextlib.closing(writer):
        for kind, payload in output:
            assert writer.append(Frame(kind, payload)) == b""
            writer.retain([offset])
            with contextlib.suppress(BlockingIOError):
                offset = writer.send(ours.fileno(), offset) if offset < writer.end else offset
                seen += decoder.feed(theirs.recv(read_at_once))
        while True:
            with contextlib.suppress(BlockingIOError):
                while offset < writer.end:
                    offset = writer.send(ours.fileno(), offset)
            try:
                seen += decoder.feed(theirs.recv(1 << 20))
            except BlockingIOError:
                break
        assert streams(seen) == of(output)
        writer.retain([])
        assert len(os.listdir(place)) <= max_files


@given(output=OUTPUT, max_size=st.integers(1, 5000), max_files=st.integers(1, 4))
@settings(deadline=None)
def test_a_rotated_log_is_the_end_of_the_whole_one(path, output, max_size, max_files):
    place = path()
    write(place, output, max_size=max_size, max_files=max_files)
    assert len(os.listdir(place)) <= max_files
    for kind, text in streams(logs.read(place, Selection(), None)).items():
        assert of(output)[kind].endswith(text)
    if output:
        assert streams(logs.read(place, Selection(), None))


def test_a_full_disk_keeps_what_there_was_and_says_what_it_could_not(path):
    place = path()
    writer = log.LogWriter(place)
    writer.append(Frame(Kind.STDOUT, b"kept\n"))
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(writer._segments[-1].descriptor)
    os.dup2(full, writer._segments[-1].descriptor)
    assert writer.append(Frame(Kind.STDOUT, b"lost\n")) == b"lost\n"
    os.dup2(kept, writer._segments[-1].descriptor)
    assert writer.append(Frame(Kind.STDOUT, b"kept too\n")) == b""
    writer.close()
    os.close(full)
    os.close(kept)
    assert streams(logs.read(place, Selection(), None)) == {Kind.STDOUT: b"kept\nkept too\n"}
