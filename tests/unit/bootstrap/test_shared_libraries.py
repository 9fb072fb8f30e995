from collections.abc import Callable
from pathlib import Path

import pytest
from support.elf_files import I386, elf_file

from kernel_sandbox.bootstrap import libraries
from kernel_sandbox.bootstrap.rootfs import Copy
from kernel_sandbox.errors import HostError

Put = Callable[[str, bytes], str]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Writes a file of a small machine, whose loader searches its `lib` alone, and gives its path."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(libraries, "_standard", lambda: iter((str(tmp_path / "lib"),)))
    monkeypatch.setattr(libraries, "_configured", lambda _: iter(()))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)

    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    write("lib/libc.so.6", elf_file(soname="libc.so.6"))
    return write


def _closure(*programs: Copy) -> dict[str, str]:
    return {copy.path: copy.source for copy in libraries.closure(programs, programs[0])}


def test_libraries_of_libraries_are_found(put: Put, tmp_path: Path) -> None:
    put("lib/liba.so", elf_file(needed=("libb.so",)))
    put("lib/libb.so", elf_file(needed=("liba.so", "libc.so.6")))
    program = Copy("usr/bin/p", put("p", elf_file(needed=("liba.so", "libc.so.6"))))
    home = f"{tmp_path}/lib".lstrip("/")
    assert set(_closure(program)) == {"usr/bin/p", f"{home}/liba.so", f"{home}/libb.so", f"{home}/libc.so.6"}


def test_the_loader_is_taken_from_where_the_program_names_it(put: Put) -> None:
    loader = put("ld.so", elf_file(soname="ld.so"))
    program = Copy("usr/bin/p", put("p", elf_file(loader, ("libc.so.6", "ld.so"))))
    assert _closure(program)[loader.lstrip("/")] == loader


def test_a_library_found_by_origin_keeps_its_place_beside_its_user(put: Put) -> None:
    put("opt/lib/libp.so", elf_file())
    program = Copy("usr/local/bin/p", put("opt/bin/p", elf_file(needed=("libp.so",), runpath="${ORIGIN}/../lib")))
    assert "usr/local/lib/libp.so" in _closure(program)


def test_a_library_found_in_a_private_directory_goes_beside_the_c_library(put: Put, tmp_path: Path) -> None:
    source = put("home/me/lib/libp.so", elf_file())
    program = Copy("usr/bin/p", put("p", elf_file(needed=("libc.so.6", "libp.so"), runpath=f"{tmp_path}/home/me/lib")))
    assert _closure(program)[f"{tmp_path}/lib/libp.so".lstrip("/")] == source


def test_an_old_style_rpath_of_the_program_serves_its_modules(put: Put, tmp_path: Path) -> None:
    put("opt/libp.so", elf_file())
    program = Copy("usr/bin/p", put("p", elf_file(needed=("libc.so.6",), rpath=f"{tmp_path}/opt")))
    module = Copy("usr/lib/m.so", put("m.so", elf_file(needed=("libp.so",))))
    assert f"{tmp_path}/lib/libp.so".lstrip("/") in _closure(program, module)


def test_a_library_of_another_machine_is_passed_over(put: Put) -> None:
    put("other/libp.so", elf_file(machine=I386))
    right = put("lib/libp.so", elf_file())
    program = Copy("usr/bin/p", put("p", elf_file(needed=("libp.so",), runpath="$ORIGIN/other")))
    assert right in _closure(program).values()


def test_a_library_that_is_not_there_is_left_out(put: Put) -> None:
    program = Copy("usr/bin/p", put("p", elf_file(needed=("libnone.so",))))
    assert set(_closure(program)) == {"usr/bin/p"}


def test_scripts_and_damaged_files_need_nothing(put: Put) -> None:
    program = Copy("usr/bin/p", put("p", elf_file()))
    script = Copy("usr/bin/s", put("s", b"#!/bin/sh\n"))
    damaged = Copy("usr/bin/d", put("d", b"\x7fELF\x02\x01\x01"))
    assert set(_closure(program, script, damaged)) == {"usr/bin/p"}


def test_a_python_that_is_a_script_is_refused(put: Put) -> None:
    with pytest.raises(HostError, match="is not an ELF program"):
        _closure(Copy("usr/bin/python3", put("python3", b"#!/bin/sh\n")))


def test_ldconfig_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("/opt/b\n# /no\n")
    main = tmp_path / "ld.so.conf"
    main.write_text(f"include {tmp_path}/*.conf\n/opt/a  # why\nhwcap 1 nosegneg\n")
    assert sorted(set(libraries._configured(str(main)))) == ["/opt/a", "/opt/b"]
