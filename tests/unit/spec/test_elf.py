import contextlib
import itertools
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.elf_files import I386, S390, X86_64, elf_file

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.elf import Elf, parse

_LOADER = "/lib64/ld-linux-x86-64.so.2"


def _parse(content: bytes) -> Elf:
    return parse(memoryview(content))


@pytest.mark.parametrize(
    ("bits", "byte_order", "machine"), [(64, "little", X86_64), (32, "little", I386), (64, "big", S390), (32, "big", 8)]
)
def test_every_class_and_byte_order_is_read(
    bits: Literal[32, 64], byte_order: Literal["little", "big"], machine: int
) -> None:
    content = elf_file(
        _LOADER, ("libz.so.1", "libc.so.6"), soname="libx.so.1", machine=machine, bits=bits, byte_order=byte_order
    )
    assert _parse(content) == Elf(
        bits=bits,
        byte_order=byte_order,
        machine=machine,
        interpreter=_LOADER,
        needed=("libz.so.1", "libc.so.6"),
        soname="libx.so.1",
    )


def test_search_paths_are_split_at_colons() -> None:
    read = _parse(elf_file(needed=("libz.so.1",), rpath="/a:$ORIGIN/../b", runpath="/c::/d"))
    assert read.rpath == ("/a", "$ORIGIN/../b")
    assert read.runpath == ("/c", "/d")


def test_a_program_without_loader_and_libraries_is_static() -> None:
    assert _parse(elf_file()).is_static
    assert not _parse(elf_file(_LOADER, ("libc.so.6",))).is_static
    assert not _parse(elf_file(needed=("libc.so.6",))).is_static


def test_only_files_for_the_same_machine_fit_together() -> None:
    read = _parse(elf_file())
    assert read.fits(_parse(elf_file(needed=("libc.so.6",))))
    assert not read.fits(_parse(elf_file(machine=I386)))
    assert not read.fits(_parse(elf_file(bits=32)))
    assert not read.fits(_parse(elf_file(byte_order="big")))


@pytest.mark.parametrize(
    "content", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF\x03\x01", b"\x7fELF\x02\x00" + bytes(64)]
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptContent, match="not an ELF file"):
        _parse(content)


def test_a_file_cut_anywhere_in_its_headers_is_refused() -> None:
    content = elf_file(_LOADER, ("libc.so.6",), runpath="/lib")
    for length in range(len(content)):
        with pytest.raises(CorruptContent):
            _parse(content[:length])


def test_any_byte_may_lie() -> None:
    content = elf_file(_LOADER, ("libc.so.6",), rpath="$ORIGIN")
    for index, value in itertools.product(range(len(content)), (0x00, 0x7F, 0xFF)):
        with contextlib.suppress(CorruptContent):
            _parse(content[:index] + bytes((value,)) + content[index + 1 :])


@given(st.binary(max_size=300))
def test_noise_after_a_good_beginning_raises_nothing_else(noise: bytes) -> None:
    with contextlib.suppress(CorruptContent):
        _parse(b"\x7fELF\x02\x01\x01" + noise)
