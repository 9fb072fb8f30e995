"""Who a file belongs to, where the kernel cannot be told.

With a user namespace of a single id no file can be given to another one. The owner an image asks for is then
kept in the extended attribute ``user.rootlesscontainers`` (rootlesscontaine.rs: a protobuf message with
``uint32 uid = 1`` and ``uint32 gid = 2``), which umoci and others read too.

What belongs here: that attribute's name and coding, and the two ways of owning. What does not: files.
"""

import enum

from kernel_sandbox.errors import CorruptContent

XATTR = "user.rootlesscontainers"
_UID, _GID = 1, 2
_NO_ID = 0xFFFFFFFF


class Ownership(enum.Enum):
    """How owners are kept: by the file system itself, or in an attribute beside it."""

    REAL = "real"
    SINGLE = "single"


def encode_owner(uid: int, gid: int) -> bytes:
    """Return the attribute's value for an owner; 0 is protobuf's default and takes no bytes."""
    return b"".join(_varint(field << 3) + _varint(value) for field, value in ((_UID, uid), (_GID, gid)) if value)


def decode_owner(value: bytes) -> tuple[int, int]:
    """Return (uid, gid) from the attribute's value.

    Raises ``CorruptContent`` when it is no such message, or holds an id that is none (4294967295).
    """
    ids = {_UID: 0, _GID: 0}
    position = 0
    while position < len(value):
        tag, position = _read_varint(value, position)
        number, position = _read_varint(value, position)
        if tag & 7 or tag >> 3 not in ids or number >= _NO_ID:
            raise CorruptContent(f"the attribute {XATTR} is damaged")
        ids[tag >> 3] = number
    return ids[_UID], ids[_GID]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(value: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(value):
            break
        byte = value[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise CorruptContent(f"the attribute {XATTR} is damaged")
