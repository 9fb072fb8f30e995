import gzip
import hashlib
import io
import os

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layers import LayerWriter, Tee, Verified
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging

ARCHIVE = b"".join(b"an archive %d " % number for number in range(100_000))
DIFF_ID = f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"


@pytest.fixture
def layout(tmp_path):
    return ImageLayout(tmp_path / "oci", Staging(tmp_path / "staging"))


def test_an_archive_is_stored_while_it_is_read(layout):
    with layout.writer() as blob:
        layer = LayerWriter(blob)
        tee = Tee(open_compressed(io.BytesIO(gzip.compress(ARCHIVE))), layer)
        assert b"".join(iter(lambda: tee.read(5000), b"")) == ARCHIVE
        stored, diff_id = layer.commit()
    assert diff_id == DIFF_ID
    with layout.open(stored.digest) as file:
        assert gzip.decompress(file.read()) == ARCHIVE


def test_what_has_come_through_a_pipe_is_read_before_more_comes(layout):
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as raw, open(writer, "wb", 0) as pipe, layout.writer() as blob:
        pipe.write(ARCHIVE[:5000])
        tee = Tee(open_compressed(raw), LayerWriter(blob))
        found = b""
        while len(found) < 5000:
            found += tee.read(1 << 20)
        assert found == ARCHIVE[:5000]


def test_an_archive_that_is_not_what_was_promised_is_refused_at_its_end():
    whole = Verified(open_compressed(io.BytesIO(ARCHIVE)), DIFF_ID)
    assert b"".join(iter(lambda: whole.read(5000), b"")) == ARCHIVE
    other = Verified(open_compressed(io.BytesIO(ARCHIVE + b"x")), DIFF_ID)
    with pytest.raises(CorruptContent, match="its content is not sha256"):
        while other.read(5000):
            pass
