import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.ownership import decode_owner, encode_owner


@pytest.mark.parametrize("owner", [(0, 0), (0, 5), (1000, 0), (1000, 1000), (65534, 4294967294), (127, 128)])
def test_an_owner_survives_its_coding(owner):
    assert decode_owner(encode_owner(*owner)) == owner


def test_the_coding_is_protobuf():
    assert encode_owner(1000, 100) == b"\x08\xe8\x07\x10\x64"


@pytest.mark.parametrize(
    "value",
    [b"\x08", b"\x08\xff", b"\x18\x01", b"\x0a\x01a", b"\x08" + b"\xff" * 12, b"\x08\xff\xff\xff\xff\x0f"],
)
def test_a_damaged_attribute_is_refused(value):
    with pytest.raises(CorruptContent):
        decode_owner(value)
