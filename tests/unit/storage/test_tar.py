import io
import os
import subprocess
import tarfile

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader, header, shown

ENTRY = Entry(
    name=b"dir/" + b"n" * 200 + b"\xff",
    kind=Kind.FILE,
    mode=0o4755,
    uid=3_000_000,
    gid=1 << 31,
    mtime=1_234_567_890_123_456_789,
    size=9 << 30,
    xattrs=((b"security.capability", b"\1\0\n=\xff"), (b"user.a", b"")),
)


def entries(data):
    return list(TarReader(io.BytesIO(data)))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", Kind.FILE),
        Entry(b"d/", Kind.DIRECTORY, mtime=-1),
        Entry(b"d/", Kind.DIRECTORY, mtime=-1_500_000_000),
        Entry(b"l", Kind.SYMLINK, link=b"t" * 300),
        Entry(b"l", Kind.HARDLINK, link=b"a"),
        Entry(b"n", Kind.BLOCK, major=4095, minor=1_048_575),
        Entry(b"f", Kind.FIFO, mtime=1),
        Entry(b"x" * 100, Kind.FILE, xattrs=((b"user." + b"a" * 90, b"v" * 9000),)),
    ],
)
def test_an_entry_survives_its_coding(entry):
    assert entries(header(entry) + END) == [entry]


def test_what_ustar_cannot_hold_survives_too():
    (read,) = [next(iter(TarReader(io.BytesIO(header(ENTRY)))))]
    assert read == ENTRY


def test_python_reads_what_is_written():
    with tarfile.open(fileobj=io.BytesIO(header(ENTRY) + END)) as archive:
        member = next(iter(archive))
    assert os.fsencode(member.name) == ENTRY.name
    assert (member.mode, member.uid, member.gid, member.size) == (0o4755, 3_000_000, 1 << 31, 9 << 30)
    assert member.pax_headers["mtime"] == "1234567890.123456789"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_format_python_writes_is_read(format):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        info = tarfile.TarInfo("d" * 90 + "/" + "f" * 90)
        info.size, info.uid, info.mtime = 3, 1234, 99
        archive.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * 99
        archive.addfile(link)
    file, link = entries(out.getvalue())
    assert (file.name, file.size, file.uid, file.mtime) == (b"d" * 90 + b"/" + b"f" * 90, 3, 1234, 99 * 10**9)
    assert (link.kind, link.link) == (Kind.SYMLINK, b"t" * 99)


@pytest.mark.parametrize(
    "options", [["--format=gnu"], *(["--format=pax", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files_of_gnu_tar_are_read(tmp_path, options):
    with open(tmp_path / "sparse", "wb") as file:
        for number in range(30):
            file.seek(number * 1_000_000)
            file.write(b"%d" % number * 100)
        file.truncate(50_000_000)
    data = subprocess.run(["tar", "cSf", "-", *options, "-C", tmp_path, "sparse"], check=True, capture_output=True)
    reader = TarReader(io.BytesIO(data.stdout))
    (entry,) = [(entry, restored(reader, entry)) for entry in reader]
    assert entry[0].name == b"sparse" and len(data.stdout) < 1_000_000
    assert entry[1] == (tmp_path / "sparse").read_bytes()


def restored(reader, entry):
    content = bytearray(entry.size)
    for offset, length in entry.segments:
        while length:
            data = reader.read(length)
            content[offset : offset + len(data)] = data
            offset, length = offset + len(data), length - len(data)
    return bytes(content)


def test_content_that_is_not_taken_is_skipped():
    data = header(Entry(b"a", Kind.FILE, size=700)) + bytes(1024) + header(Entry(b"b", Kind.FILE)) + END
    assert [entry.name for entry in entries(data)] == [b"a", b"b"]


def test_an_archive_without_a_trailer_ends_where_it_ends():
    assert len(entries(header(Entry(b"a", Kind.FILE)))) == 1
    assert entries(b"") == []


def with_number(start, field):
    block = bytearray(header(Entry(b"a", Kind.FILE)))
    block[start : start + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(data):
    extended = bytearray(with_number(124, b"%011o\0" % len(data)))
    extended[156:157] = b"x"
    extended[148:156] = b" " * 8
    extended[148:156] = b"%06o\0 " % sum(extended)
    return bytes(extended) + data + bytes(-len(data) % 512) + header(Entry(b"a", Kind.FILE)) + END


BROKEN = {
    "not an archive": b"hello" * 1000,
    "checksum": header(Entry(b"a", Kind.FILE)).replace(b"a", b"b", 1),
    "half a header": header(Entry(b"a", Kind.FILE))[:300],
    "content cut short": header(Entry(b"a", Kind.FILE, size=5000)) + bytes(512),
    "a lone zero block": bytes(512) + header(Entry(b"a", Kind.FILE)),
    "negative size": with_number(124, b"\xff" * 12),
    "negative owner": with_number(108, b"\xff" * 8),
    "number in letters": with_number(124, b"12345678xyz\0"),
    "number in no octal digits": with_number(124, b"99999999999\0"),
    "unknown type": with_number(156, b"M"),
    "extended header without entry": pax(b"6 a=b\n")[:1024],
    "record without length": pax(b"a=b\n"),
    "record that is too long": pax(b"99 a=b\n"),
    "record of length zero": pax(b"0 a=b\n"),
    "record of length one": pax(b"1 a=b\n"),
    "record of huge length": pax(b"9" * 30 + b" a=b\n"),
    "record without newline": pax(b"6 a=bc"),
    "time of letters": pax(b"11 mtime=x\n"),
    "size of letters": pax(b"10 size=x\n"),
    "sparse map of letters": pax(b"21 GNU.sparse.size=5\n20 GNU.sparse.map=x\n"),
    "sparse map out of order": pax(b"21 GNU.sparse.size=9\n26 GNU.sparse.map=5,0,1,0\n"),
    "sparse map past the end": pax(b"21 GNU.sparse.size=5\n22 GNU.sparse.map=6,0\n"),
    "sparse map of an odd length": pax(b"21 GNU.sparse.size=5\n24 GNU.sparse.map=0,0,1\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_is_refused(name):
    with pytest.raises(CorruptContent):
        entries(BROKEN[name])


def test_an_extended_header_of_a_gibibyte_is_not_read():
    huge = bytearray(with_number(124, b"%011o\0" % (1 << 30)))
    huge[156:157] = b"L"
    huge[148:156] = b" " * 8
    huge[148:156] = b"%06o\0 " % sum(huge)
    with pytest.raises(CorruptContent, match="unreasonably large"):
        entries(bytes(huge) + bytes(1 << 16))


def test_extended_headers_without_end_are_refused():
    with pytest.raises(CorruptContent, match="unreasonably large"):
        entries(pax(b"6 a=b\n")[:1024] * 100)


def test_a_name_is_shown_on_one_line():
    assert shown(b"a\nb\x1b\xff") == r"'a\nb\x1b\udcff'"
    assert len(shown(b"n" * 5000)) < 200
