import io
import lzma
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from support.elf_files import elf_file

from kernel_sandbox.bootstrap import busybox, deb
from kernel_sandbox.errors import CorruptContent, HostError

_BINARY = elf_file() + b"busybox"


def _deb(
    content: bytes = _BINARY, name: str = "./bin/busybox", suffix: str = "", kind: bytes = tarfile.REGTYPE
) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.type = (len(content), kind) if kind == tarfile.REGTYPE else (0, kind)
        archive.addfile(info, io.BytesIO(content))
    return (
        b"!<arch>\n"
        + _member("debian-binary", b"2.0")
        + _member(f"data.tar{suffix}", _compressed(suffix, data.getvalue()))
    )


def _compressed(suffix: str, data: bytes) -> bytes:
    match suffix:
        case ".xz":
            return lzma.compress(data)
        case ".zst":
            return zstandard.compress(data)
    return data


def _member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)


def _member_of(package: bytes, limit: int = 1 << 20) -> bytes:
    return deb.member(package, ("bin/busybox",), limit)


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst"])
def test_a_file_is_taken_out_of_a_package_however_it_is_compressed(suffix: str) -> None:
    assert _member_of(_deb(suffix=suffix)) == _BINARY


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        (b"", "not a Debian package"),
        (b"!<arch>\n", "has no data.tar"),
        (b"!<arch>\n" + b"x" * 60, "has no size"),
        (_deb(name="./bin/other"), "has no file bin/busybox"),
        (_deb(kind=tarfile.SYMTYPE), "has no file bin/busybox"),
        (_deb(suffix=".lz9"), "compressed in an unknown way"),
        (_deb(suffix=".xz")[:-20], "damaged"),
        (_deb(suffix="")[:600], "damaged|no file|cut short"),
    ],
)
def test_a_damaged_package_is_refused(package: bytes, reason: str) -> None:
    with pytest.raises(CorruptContent, match=reason):
        _member_of(package)


def test_sizes_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorruptContent, match="more than 4 is refused"):
        _member_of(_deb(), limit=4)
    monkeypatch.setattr(deb, "_MAX_DATA", 1000)
    for suffix in ("", ".xz", ".zst"):
        with pytest.raises(CorruptContent, match="has more than 1000 bytes"):
            _member_of(_deb(content=bytes(5000), suffix=suffix))


def test_a_static_busybox_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "busybox"
    program.write_bytes(_BINARY)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert busybox.static_binary() == _BINARY


def test_where_it_is_dynamic_the_distributions_package_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("busybox", elf_file("/lib/ld.so", ("libc.so.6",))), ("apt-get", b"#!/bin/sh\n")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)

    def download(command: tuple[str, ...], *, cwd: str, **_: object) -> None:
        assert command == (str(tmp_path / "apt-get"), "download", "-qq", "busybox-static")
        Path(cwd, "busybox-static_1.deb").write_bytes(_deb(suffix=".xz"))

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", download)
    assert busybox.static_binary() == _BINARY


@pytest.mark.parametrize("apt", [b"", b"#!/bin/sh\nexit 100\n", b"#!/bin/sh\nexit 0\n"], ids=["none", "fails", "lies"])
def test_with_none_to_be_had_it_says_how_to_get_one(
    apt: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if apt:
        (tmp_path / "apt-get").write_bytes(apt)
        (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="apt-get install busybox-static"):
        busybox.static_binary()
    assert os.listdir(tmp_path) == (["apt-get"] if apt else [])


def test_words_before_the_table_are_no_applets() -> None:
    names = ("[", "[[", "ash", "busybox", "cat", "echo", "ls", "sh", "vi")
    table = b"\0".join(name.encode() for name in names)
    assert busybox.applets(b"\x01zoo\0apple\0" + table + b"\0\0/etc") == names
