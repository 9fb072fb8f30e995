"""An image that would fill the disk with many layers, each of which could be one."""

import pytest

from kernel_sandbox.engine.content import Bulk
from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_LAYER_GZIP, Descriptor

MIB = 1 << 20


def blob(name: bytes, size: int = MIB) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(name), size=size)


def test_a_bomb_in_pieces_is_one() -> None:
    bulk = Bulk()
    for name in (b"1", b"2", b"3"):
        bulk.add(blob(name), 300 * MIB)
    with pytest.raises(CorruptContent, match="the image holds more than 1 GiB"):
        bulk.add(blob(b"4"), 300 * MIB)


def test_a_blob_that_is_many_layers_is_stored_once() -> None:
    bulk = Bulk()
    for _ in range(6):
        bulk.add(blob(b"again"), 170 * MIB)
    with pytest.raises(CorruptContent):
        bulk.add(blob(b"again"), 170 * MIB)


def test_a_large_image_is_no_bomb() -> None:
    bulk = Bulk()
    for number in range(100):
        bulk.add(blob(b"%d" % number, 10 * MIB), 1000 * MIB)


def test_what_was_compressed_here_holds_what_it_likes() -> None:
    own = blob(b"own")
    bulk = Bulk((own.digest,))
    assert bulk.trusts(own) and not bulk.trusts(blob(b"other"))
    bulk.add(own, 1 << 40)
