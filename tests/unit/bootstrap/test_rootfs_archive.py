import importlib.util
import io
import marshal
import sys
import tarfile
from pathlib import Path
from types import CodeType

import pytest

from kernel_sandbox.bootstrap import Rootfs, write
from kernel_sandbox.bootstrap.archive import EPOCH
from kernel_sandbox.bootstrap.bytecode import compiled
from kernel_sandbox.bootstrap.rootfs import Bytecode, Copy, Directory, Entry, Symlink, Text
from kernel_sandbox.errors import HostError


def _archive(*entries: Entry) -> bytes:
    out = io.BytesIO()
    write(Rootfs("x:latest", entries, (), ()), out)
    return out.getvalue()


def _members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: member for member in opened}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text("def double(x: int) -> int:\n    return x in {1, 2} and 2 * x\n")
    return path


def test_every_kind_of_entry_is_written_with_normal_owner_mode_and_time(source: Path) -> None:
    source.chmod(0o700)
    archive = _archive(
        Directory("d", 0o1777),
        Symlink("l", "../x"),
        Text("t", b"text"),
        Copy("p", str(source)),
        Copy("n" * 200, str(source)),
    )
    members = _members(archive)
    assert [oct(member.mode) for member in members.values()] == ["0o1777", "0o777", "0o644", "0o755", "0o755"]
    assert members["d"].isdir() and members["l"].issym() and members["l"].linkname == "../x"
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", EPOCH)}


def test_the_same_inputs_make_the_same_bytes(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (Bytecode("m.pyc", str(source), "m.py"), Copy("m.py", str(source)))
    first = _archive(*entries)
    source.touch()
    assert _archive(*entries) == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert {member.mtime for member in _members(_archive(*entries)).values()} == {1700000000}


def test_bytecode_is_valid_for_its_source_where_that_will_be(source: Path) -> None:
    (content,) = compiled([Bytecode("x", str(source), "usr/lib/m.py")], EPOCH)
    assert content[:4] == importlib.util.MAGIC_NUMBER
    assert [int.from_bytes(content[at : at + 4], "little") for at in (4, 8, 12)] == [0, EPOCH, source.stat().st_size]
    code = marshal.loads(content[16:])
    assert isinstance(code, CodeType)
    assert code.co_filename == "/usr/lib/m.py"


def test_bytecode_does_not_depend_on_what_is_compiled_beside_it(tmp_path: Path) -> None:
    files = []
    for number in range(12):
        path = tmp_path / f"m{number}.py"
        path.write_text(
            f"A = 'shared'\nB = {{'x': ('shared', {number})}}\ndef shared(a, b={number}): return a in {{'p', 'q'}}\n"
        )
        files.append(Bytecode("x", str(path), path.name))
    together = list(compiled(files, 0))
    assert together == [content for file in files for content in compiled([file], 0)]
    assert together == list(reversed(list(compiled(files[::-1], 0))))


def test_a_file_that_does_not_compile_leaves_no_bytecode(tmp_path: Path) -> None:
    template = tmp_path / "template.py"
    template.write_text("class {{ name }}: ...\n")
    archive = _archive(Bytecode("t.pyc", str(template), "t.py"), Copy("t.py", str(template)))
    assert list(_members(archive)) == ["t.py"]


def test_a_source_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot read .*/gone for the base image: No such file"):
        _archive(Copy("x", str(tmp_path / "gone")))
    with pytest.raises(HostError, match="ended while it compiled"):
        _archive(Bytecode("x", str(tmp_path / "gone"), "x.py"))


def test_a_python_that_does_not_run_is_one_line(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HostError, match="ended while it compiled"):
        _archive(Bytecode("x", str(source), "x.py"))
