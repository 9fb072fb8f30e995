import bz2
import functools
import gzip
import io
import lzma
import os
import resource

import pytest
import zstandard

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage import compression
from kernel_sandbox.storage.compression import gzip_writer, open_compressed

CONTENT = b"".join(b"line %d of a layer\n" % number for number in range(20_000))
COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


class Trickle(io.RawIOBase):
    """A pipe that gives few bytes at a time and cannot seek."""

    def __init__(self, data):
        self._inner = io.BytesIO(data)

    def read(self, size=-1):
        return self._inner.read(min(size, 7) if size >= 0 else -1)


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(compression, "igzip_lib", None)
        monkeypatch.setattr(compression, "isal_zlib", None)


@pytest.mark.parametrize("name", COMPRESS)
def test_each_compression_is_told_by_its_content(name, library):
    assert open_compressed(io.BytesIO(COMPRESS[name](CONTENT))).read() == CONTENT


def test_frames_to_be_skipped_may_come_before_and_after(library):
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    joined = skipped + COMPRESS["zstd"](CONTENT) + skipped
    assert open_compressed(io.BytesIO(joined)).read() == CONTENT


@pytest.mark.parametrize("name", COMPRESS)
def test_members_that_follow_each_other_are_one_content(name, library):
    joined = COMPRESS[name](CONTENT) + COMPRESS[name](b"") + COMPRESS[name](b"end") + bytes(512)
    assert open_compressed(io.BytesIO(joined)).read() == CONTENT + b"end"


@pytest.mark.parametrize("name", COMPRESS)
def test_a_stream_that_trickles_is_read_to_its_end(name):
    raw = Trickle(COMPRESS[name](CONTENT[:5000]))
    assert open_compressed(raw).read() == CONTENT[:5000]
    assert raw.read(1) == b"" and not raw.closed


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("cut", [12, 100, -3])
def test_a_stream_cut_short_is_refused(name, cut, library):
    with pytest.raises(CorruptContent, match=r"cut short|damaged"):
        open_compressed(io.BytesIO(COMPRESS[name](CONTENT)[:cut])).read()


@pytest.mark.parametrize("name", COMPRESS)
def test_a_damaged_stream_is_refused(name, library):
    data = bytearray(COMPRESS[name](CONTENT))
    data[len(data) // 2] ^= 0xFF
    data[len(data) // 2 + 1] ^= 0xFF
    if name == "zstd":  # has no checksum unless asked for
        data[8:40] = bytes(32)
    with pytest.raises(CorruptContent):
        open_compressed(io.BytesIO(bytes(data))).read()


@pytest.mark.parametrize("name", COMPRESS)
def test_garbage_after_the_stream_is_refused(name, library):
    with pytest.raises(CorruptContent):
        open_compressed(io.BytesIO(COMPRESS[name](CONTENT) + b"garbage!")).read()


@pytest.mark.parametrize("content", [b"", b"a", b"plain text", bytes(10_000)])
def test_plain_content_passes_through(content):
    assert open_compressed(Trickle(content)).read() == content


@functools.cache
def bomb_of(name):
    return COMPRESS[name](bytes(64 << 20))


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_is_read_in_bounded_memory(name, library):
    bomb = bomb_of(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = open_compressed(io.BytesIO(bomb))
    total = 0
    while data := stream.read(1 << 16):
        total += len(data)
    assert total == 64 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10  # KiB


@pytest.mark.parametrize("is_trusted", [False, True])
def test_more_than_a_gibibyte_is_read_only_if_it_is_packed_as_files_are(is_trusted, monkeypatch):
    monkeypatch.setattr(compression, "_BOMB_SIZE", 1 << 20)
    for content in (os.urandom(3 << 20), bytes(1 << 20)):
        assert open_compressed(io.BytesIO(gzip.compress(content)), is_trusted).read() == content
    bomb = gzip.compress(bytes(4 << 20))
    if is_trusted:
        assert len(open_compressed(io.BytesIO(bomb), is_trusted).read()) == 4 << 20
    else:
        with pytest.raises(CorruptContent, match="200 times its own size"):
            open_compressed(io.BytesIO(bomb)).read()


def test_written_gzip_is_read_by_others_and_always_the_same(library):
    content = CONTENT + os.urandom(1 << 20) + CONTENT
    stream = written(content, 1000)
    assert gzip.decompress(stream) == content
    assert stream == written(content, 77_777) == written(content, 2 << 20)
    assert stream[3:8] == bytes(5)  # no name, no time


def written(content, step):
    out = io.BytesIO()
    with gzip_writer(out) as writer:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
    return out.getvalue()


def test_gigabytes_of_zeros_that_we_write_are_no_bomb(library, monkeypatch):
    monkeypatch.setattr(compression, "_BOMB_SIZE", 4 << 20)
    content = bytes(20 << 20) + b"end"
    stream = written(content, 1 << 20)
    assert gzip.decompress(stream) == open_compressed(io.BytesIO(stream)).read() == content
    assert len(stream) < len(content) // 100
    assert len(written(bytes(2 << 20), 1 << 20)) < 16 << 10
