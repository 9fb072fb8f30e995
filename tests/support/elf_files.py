"""Makes small ELF files that say what a test wants them to say: headers only, no code."""

import struct
from typing import Literal

X86_64, I386, S390 = 62, 3, 22
_TAGS = {"needed": 1, "soname": 14, "rpath": 15, "runpath": 29}


def elf_file(
    interpreter: str = "",
    needed: tuple[str, ...] = (),
    *,
    rpath: str = "",
    runpath: str = "",
    soname: str = "",
    machine: int = X86_64,
    bits: Literal[32, 64] = 64,
    byte_order: Literal["little", "big"] = "little",
) -> bytes:
    """An ELF file with one PT_LOAD over all of it, and PT_INTERP and PT_DYNAMIC where they are called for."""
    order = "<" if byte_order == "little" else ">"
    header_size, segment_size, word = (64, 56, "Q") if bits == 64 else (52, 32, "I")
    wanted = [("needed", name) for name in needed]
    wanted += [(tag, value) for tag, value in (("rpath", rpath), ("runpath", runpath), ("soname", soname)) if value]
    count = 1 + bool(interpreter) + bool(wanted)

    strings, dynamic = b"\0", []
    for tag, value in wanted:
        dynamic.append((_TAGS[tag], len(strings)))
        strings += value.encode() + b"\0"
    start = header_size + count * segment_size
    interp = interpreter.encode() + b"\0" if interpreter else b""
    strings_at = start + len(interp)
    base = 0x10000
    dynamic += [(5, base + strings_at), (10, len(strings)), (0, 0)]
    table = b"".join(struct.pack(order + word * 2, *entry) for entry in dynamic) if wanted else b""
    body = interp + strings + table

    def segment(kind: int, offset: int, size: int) -> bytes:
        if bits == 64:
            return struct.pack(order + "IIQQQQQQ", kind, 4, offset, base + offset, base + offset, size, size, 1)
        return struct.pack(order + "IIIIIIII", kind, offset, base + offset, base + offset, size, size, 4, 1)

    segments = segment(1, 0, start + len(body))
    if interpreter:
        segments += segment(3, start, len(interp))
    if wanted:
        segments += segment(2, strings_at + len(strings), len(table))
    ident = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1 if byte_order == "little" else 2, 1)) + bytes(9)
    rest = struct.pack(
        order + "HHI" + word * 3 + "IHHHHHH",
        3,
        machine,
        1,
        0,
        header_size,
        0,
        0,
        header_size,
        segment_size,
        count,
        0,
        0,
        0,
    )
    return ident + rest + segments + body
