import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.ownership import InsideOwners, decode_owner, encode_owner


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


def test_owners_inside_a_directory_are_told_apart_by_name():
    owners = InsideOwners()
    for number in range(500):
        owners.add(b"%d" % number, number % 3, 7)
    read = InsideOwners.decoded(owners.encoded())
    assert [read.of(b"%d" % number) for number in range(500)] == [(number % 3, 7) for number in range(500)]
    assert read.of(b"unknown") == (0, 0)
    assert len(owners.encoded()) < 2100


def test_where_there_is_no_room_all_have_the_commonest_owner():
    owners = InsideOwners()
    for number in range(30):
        owners.add(b"%d" % number, 5 if number % 3 else 6, 7)
    short = InsideOwners.decoded(owners.shortened().encoded())
    assert short.of(b"0") == short.of(b"anything") == (5, 7)
    assert len(owners.shortened().encoded()) == 12


@given(st.binary(max_size=100))
def test_nonsense_says_nothing_of_owners(value):
    uid, gid = InsideOwners.decoded(value).of(b"name")
    assert 0 <= uid < 0xFFFFFFFF and 0 <= gid < 0xFFFFFFFF
