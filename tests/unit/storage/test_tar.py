import io
import os
import subprocess
import tarfile

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader, shown
from kernel_sandbox.storage.tar_writing import header

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
        Entry(b"a", Kind.FILE, xattrs=((b"user.%3D%25253D%%25%2=", b"3"), (b"user.a=b=c", b"1=2"))),
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


def extension(data, flag=b"x"):
    extended = bytearray(with_number(124, b"%011o\0" % len(data)))
    extended[156:157] = flag
    extended[148:156] = b" " * 8
    extended[148:156] = b"%06o\0 " % sum(extended)
    return bytes(extended) + data + bytes(-len(data) % 512)


def pax(data):
    return extension(data) + header(Entry(b"a", Kind.FILE)) + END


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
    "name with a zero byte": pax(b"12 path=a\0b\n"),
    "target with a zero byte": pax(b"16 linkpath=a\0b\n"),
    "sparse name with a zero byte": pax(b"21 GNU.sparse.size=0\n19 GNU.sparse.map=\n23 GNU.sparse.name=a\0b\n"),
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


PATH, OWNER = b"10 path=b\n", b"9 uid=42\n"


@pytest.mark.parametrize(
    ("extensions", "name", "uid"),
    [
        ([extension(PATH, b"g")], b"a", 0),
        ([extension(PATH), extension(OWNER, b"g")], b"a", 0),
        ([extension(PATH), extension(OWNER)], b"a", 42),
        ([extension(b"long\0", b"L"), extension(PATH)], b"long", 0),
        ([extension(PATH), extension(b"long\0", b"L")], b"long", 0),
    ],
    ids=["of all", "of all after it", "twice", "a long name before", "a long name after"],
)
def test_of_several_extended_headers_those_count_that_count_for_docker(extensions, name, uid):
    (entry,) = entries(b"".join(extensions) + header(Entry(b"a", Kind.FILE)) + END)
    assert (entry.name, entry.uid) == (name, uid)


def test_what_is_said_of_all_entries_may_come_last():
    (entry,) = entries(header(Entry(b"a", Kind.FILE)) + extension(b"13 comment=x\n", b"g") + END)
    assert entry.name == b"a"


def test_a_slash_at_its_end_makes_a_directory_of_an_entry_of_the_oldest_kind_alone():
    file = header(Entry(b"a/", Kind.FILE))
    oldest = bytearray(file)
    oldest[156:157] = b"\0"
    oldest[148:156] = b"%06o\0 " % (sum(oldest) - sum(oldest[148:156]) + 8 * 32)
    assert [entry.kind for entry in entries(file + bytes(oldest) + END)] == [Kind.FILE, Kind.DIRECTORY]


def test_a_checksum_of_signed_bytes_is_one():
    block = bytearray(header(Entry(b"\xff\xfe", Kind.FILE)))
    block[148:156] = b"%06o\0 " % (int(block[148:154], 8) - 2 * 256)
    assert [entry.name for entry in entries(bytes(block) + END)] == [b"\xff\xfe"]


def test_a_name_is_shown_on_one_line():
    assert shown(b"a\nb\x1b\xff") == r"'a\nb\x1b\udcff'"
    assert len(shown(b"n" * 5000)) < 200
