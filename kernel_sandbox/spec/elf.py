"""What the dynamic loader reads in an ELF file: its interpreter, the libraries it needs, where it looks for them.

Follows elf(5) and the System V ABI, chapters 4 and 5. Sections, symbols and relocations do not belong here, nor does
the search for the libraries: that needs a file system.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kernel_sandbox.errors import CorruptContent

MAGIC = b"\x7fELF"

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
_MAX_PROGRAM_HEADERS = 512
_MAX_DYNAMIC_ENTRIES = 4096
_MAX_STRING = 4096


@dataclass(frozen=True, slots=True)
class Elf:
    """The part of an ELF file that decides what it is loaded with."""

    bits: Literal[32, 64]
    byte_order: Literal["little", "big"]
    machine: int
    """``e_machine``: 62 is x86-64, 183 is AArch64."""
    interpreter: str = ""
    """``PT_INTERP``: the dynamic loader's absolute path; empty for a library and for a static executable."""
    needed: tuple[str, ...] = ()
    """``DT_NEEDED``, in the order the loader takes them."""
    rpath: tuple[str, ...] = ()
    """``DT_RPATH`` split at colons; the loader ignores it where there is a ``DT_RUNPATH``."""
    runpath: tuple[str, ...] = ()
    soname: str = ""

    @property
    def is_static(self) -> bool:
        """Whether it runs with no dynamic loader and no library."""
        return not self.interpreter and not self.needed

    def fits(self, other: "Elf") -> bool:
        """Whether one process can hold both: same class, byte order and machine."""
        return (self.bits, self.byte_order, self.machine) == (other.bits, other.byte_order, other.machine)


@dataclass(frozen=True, slots=True)
class _Segment:
    type: int
    offset: int
    address: int
    size: int


def parse(data: memoryview) -> Elf:
    """Read the headers of a whole ELF file.

    Raises CorruptContent where the content is not ELF, or points outside itself.
    """
    return _Reader(data).elf()


class _Reader:
    """One pass over a file whose every number may be a lie."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        ident = bytes(data[:6])
        if len(ident) < 6 or ident[:4] != MAGIC or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise CorruptContent("not an ELF file: its first bytes are wrong")
        self._bits: Literal[32, 64] = 64 if ident[4] == 2 else 32
        self._little = ident[5] == 1

    def elf(self) -> Elf:
        (machine,) = self._unpack("H", 18)
        segments = tuple(self._segments())
        interpreter = next((self._bytes(s.offset, s.size) for s in segments if s.type == _PT_INTERP), b"")
        dynamic = tuple(self._dynamic(segments))
        table = self._string_table(dict(dynamic), segments)

        def strings(tag: int) -> tuple[str, ...]:
            return tuple(_string(table, value) for found, value in dynamic if found == tag)

        return Elf(
            bits=self._bits,
            byte_order="little" if self._little else "big",
            machine=machine,
            interpreter=_text(interpreter.partition(b"\0")[0]),
            needed=strings(_DT_NEEDED),
            rpath=_directories(strings(_DT_RPATH)),
            runpath=_directories(strings(_DT_RUNPATH)),
            soname="".join(strings(_DT_SONAME)[:1]),
        )

    def _segments(self) -> Iterator[_Segment]:
        if self._bits == 64:
            (table,), (entry_size, count) = self._unpack("Q", 32), self._unpack("HH", 54)
        else:
            (table,), (entry_size, count) = self._unpack("I", 28), self._unpack("HH", 42)
        if count > _MAX_PROGRAM_HEADERS:
            raise CorruptContent(f"the ELF file has {count} program headers: at most {_MAX_PROGRAM_HEADERS} are read")
        for offset in (table + index * entry_size for index in range(count)):
            if self._bits == 64:
                kind, _, start, address, _, size = self._unpack("IIQQQQ", offset)
            else:
                kind, start, address, _, size = self._unpack("IIIII", offset)
            yield _Segment(kind, start, address, size)

    def _dynamic(self, segments: tuple[_Segment, ...]) -> Iterator[tuple[int, int]]:
        layout, width = ("QQ", 16) if self._bits == 64 else ("II", 8)
        for segment in segments:
            if segment.type != _PT_DYNAMIC:
                continue
            for index in range(min(segment.size // width, _MAX_DYNAMIC_ENTRIES)):
                tag, value = self._unpack(layout, segment.offset + index * width)
                if tag == _DT_NULL:
                    return
                yield tag, value

    def _string_table(self, dynamic: dict[int, int], segments: tuple[_Segment, ...]) -> memoryview:
        if _DT_STRTAB not in dynamic:
            return memoryview(b"")
        address, size = dynamic[_DT_STRTAB], dynamic.get(_DT_STRSZ, 0)
        for segment in segments:
            if segment.type == _PT_LOAD and segment.address <= address < segment.address + segment.size:
                return self._slice(segment.offset + address - segment.address, size)
        raise CorruptContent("the ELF file's string table is in none of its segments")

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        order = "<" if self._little else ">"
        try:
            return struct.unpack_from(order + layout, self._data, offset)
        except (struct.error, OverflowError) as error:
            raise CorruptContent(f"the ELF file is cut short: nothing at offset {offset}") from error

    def _slice(self, offset: int, size: int) -> memoryview:
        if offset + size > len(self._data):
            raise CorruptContent(f"the ELF file is cut short: {size} bytes at offset {offset} are not there")
        return self._data[offset : offset + size]

    def _bytes(self, offset: int, size: int) -> bytes:
        if size > _MAX_STRING:
            raise CorruptContent(f"the ELF file has a string of {size} bytes: at most {_MAX_STRING} are read")
        return bytes(self._slice(offset, size))


def _string(table: memoryview, offset: int) -> str:
    head, end, _ = bytes(table[offset : offset + _MAX_STRING]).partition(b"\0")
    if not end:
        raise CorruptContent("the ELF file has a string with no end")
    return _text(head)


def _directories(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(directory for value in values for directory in value.split(":") if directory)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
