"""Who a file belongs to, where the kernel cannot be told.

With a user namespace of a single id no file can be given to another one. The owner an image asks for is then
kept in the extended attribute ``user.rootlesscontainers`` (rootlesscontaine.rs: a protobuf message with
``uint32 uid = 1`` and ``uint32 gid = 2``), which umoci and others read too. Symbolic links and fifos take no
such attribute: theirs are kept in one of the directory they are in, by the names' checksums, so that it holds many.

What belongs here: those attributes' names and coding, and the two ways of owning. What does not: files.
"""

import enum
import struct
import zlib

import msgspec

from kernel_sandbox.errors import CorruptContent

XATTR = "user.rootlesscontainers"
INSIDE_XATTR = "user.kernel_sandbox.owners"  # of a directory: who the links and fifos in it belong to
_UID, _GID = 1, 2
_NO_ID = 0xFFFFFFFF
_MOST = 1 << 14  # checksums of four bytes: an attribute has 64 KiB at most


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


class InsideOwners(msgspec.Struct):
    """Owners of the links and fifos in one directory: by name, and of all the others in it.

    As an attribute: for each owner the ids, the number of names and their checksums; no names mean all the others.
    """

    named: dict[int, tuple[int, int]] = {}
    others: tuple[int, int] = (0, 0)

    def add(self, name: bytes, uid: int, gid: int) -> None:
        """Remember one owner; of many more than an attribute can hold some."""
        if len(self.named) < _MOST:
            self.named[zlib.crc32(name)] = uid, gid

    def of(self, name: bytes) -> tuple[int, int]:
        """Return (uid, gid); root's where nothing is known of it."""
        return self.named.get(zlib.crc32(name), self.others)

    def encoded(self) -> bytes:
        """Return the attribute's value."""
        groups: dict[tuple[int, int], list[int]] = {}
        for checksum, owner in self.named.items():
            groups.setdefault(owner, []).append(checksum)
        parts = [_group(self.others, [])] if any(self.others) else []
        return b"".join((*parts, *(_group(owner, names) for owner, names in groups.items())))

    def shortened(self) -> "InsideOwners":
        """Return what is left where that is too much for the file system: the commonest owner, for all."""
        owners = list(self.named.values())
        return InsideOwners({}, max(set(owners), key=owners.count, default=self.others))

    @classmethod
    def decoded(cls, value: bytes) -> "InsideOwners":
        """Read the attribute's value; a container may have written nonsense there, which says nothing."""
        found = cls()
        position = 0
        try:
            while position < len(value):
                uid, gid, count = struct.unpack_from("<III", value, position)
                names = struct.unpack_from(f"<{count}I", value, position + 12)
                position += 12 + 4 * count
                if max(uid, gid) == _NO_ID:
                    return cls()
                found.named.update(dict.fromkeys(names, (uid, gid)))
                found.others = found.others if count else (uid, gid)
        except struct.error:
            return cls()
        return found


def _group(owner: tuple[int, int], names: list[int]) -> bytes:
    return struct.pack(f"<III{len(names)}I", *owner, len(names), *names)


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
