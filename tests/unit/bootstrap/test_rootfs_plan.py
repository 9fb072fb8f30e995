import os
import subprocess
from pathlib import Path

import pytest

from kernel_sandbox.bootstrap import Rootfs, fingerprint, plan_busybox, plan_python, python_reference
from kernel_sandbox.bootstrap.rootfs import Bytecode, Copy, Directory, Symlink, Text, assemble
from kernel_sandbox.errors import CorruptContent, HostError


@pytest.fixture(scope="module")
def python() -> Rootfs:
    return plan_python()


def _paths(rootfs: Rootfs) -> set[str]:
    return {entry.path for entry in rootfs.entries}


def test_entries_are_sorted_with_their_parents() -> None:
    assert assemble([Text("b/c/d", b"")], [Directory("a", 0o700)]) == (
        Directory("a", 0o700),
        Directory("b"),
        Directory("b/c"),
        Text("b/c/d", b""),
    )


def test_what_goes_through_a_top_level_link_goes_to_usr() -> None:
    assembled = assemble([Symlink("lib", "usr/lib"), Text("lib/x", b""), Text("/bin/../sbin/y", b"")])
    assert [entry.path for entry in assembled] == ["lib", "usr", "usr/lib", "usr/lib/x", "usr/sbin", "usr/sbin/y"]


def test_of_two_entries_with_one_path_the_later_stays() -> None:
    assert assemble([Text("a", b"1")], [Text("a", b"2")]) == (Text("a", b"2"),)


def test_no_entry_leaves_the_root_or_lies_beneath_anything_but_a_directory(python: Rootfs) -> None:
    kinds = {entry.path: type(entry) for entry in python.entries}
    assert len(kinds) == len(python.entries)
    for path in kinds:
        assert path == os.path.normpath(path) and not path.startswith(("/", ".."))
        assert kinds.get(os.path.dirname(path), Directory) is Directory


def test_the_python_image_has_an_interpreter_a_shell_and_ipykernel(python: Rootfs) -> None:
    version = python_reference().rpartition(":")[2]
    bin_directory = next(p for p in _paths(python) if p.endswith(f"/bin/python{version}")).rpartition("/")[0]
    assert {f"{bin_directory}/python", f"{bin_directory}/python3", "usr/bin/sh", "tmp"} <= _paths(python)
    for module in ("os.py", "ipykernel_launcher.py", "zmq/__init__.py"):
        assert any(path.endswith(f"/{module}") for path in _paths(python)), module
    assert python.reference == python_reference()
    assert python.cmd == ("python3",)
    assert "LANG=C.UTF-8" in python.env


def test_the_python_image_has_its_dynamic_loader_and_c_library(python: Rootfs) -> None:
    names = [path.rpartition("/")[2] for path in _paths(python)]
    assert any(name.startswith(("ld-linux", "ld-musl", "ld64")) for name in names)
    assert any(name.startswith("libc.") for name in names)


def test_test_suites_caches_and_static_libraries_stay_out(python: Rootfs) -> None:
    for entry in python.entries:
        if isinstance(entry, Copy):
            parts = entry.path.split("/")
            assert not {"test", "tests", "idlelib", "turtledemo", "__pycache__"}.intersection(parts[:-1]), entry.path
            assert not entry.path.endswith((".a", ".pyc")), entry.path


def test_every_module_has_its_bytecode(python: Rootfs) -> None:
    compiled = {entry.module for entry in python.entries if isinstance(entry, Bytecode)}
    assert compiled == {entry.path for entry in python.entries if entry.path.endswith(".py")}


def test_nothing_the_interpreter_needs_lies_in_a_home_directory(python: Rootfs) -> None:
    assert not any(path.startswith(("root/", "home/")) for path in _paths(python))


def test_a_fingerprint_stays_until_an_input_changes(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("one")
    rootfs = Rootfs("x:latest", (Copy("file", str(source)),), (), ())
    first = fingerprint(rootfs)
    assert fingerprint(rootfs) == first
    source.write_text("three")
    assert fingerprint(rootfs) != first
    source.unlink()
    with pytest.raises(HostError, match="cannot read"):
        fingerprint(rootfs)


def test_a_fingerprint_knows_every_part_of_the_plan() -> None:
    plans = (
        Rootfs("x:latest", (Text("a", b"1"),), (), ()),
        Rootfs("x:latest", (Text("a", b"2"),), (), ()),
        Rootfs("x:latest", (Text("a", b"1", 0o755),), (), ()),
        Rootfs("x:latest", (Text("a", b"1"),), ("A=1",), ()),
        Rootfs("x:latest", (Text("a", b"1"),), (), ("sh",)),
    )
    assert len({fingerprint(plan) for plan in plans}) == len(plans)


def test_the_busybox_image_links_its_applets() -> None:
    table = ("[", "ash", "busybox", "cat", "echo", "ls", "ps", "sh", "true", "vi")
    binary = b"\x7fELF..some\0other\0" + b"".join(name.encode() + b"\0" for name in table) + b"\0rest"
    rootfs = plan_busybox(binary)
    assert rootfs.reference == "busybox:latest"
    assert rootfs.cmd == ("sh",)
    assert Text("usr/bin/busybox", binary, 0o755) in rootfs.entries
    links = {entry.path for entry in rootfs.entries if isinstance(entry, Symlink) and entry.target == "busybox"}
    assert links == {f"usr/bin/{name}" for name in table if name != "busybox"}


def test_a_busybox_image_is_not_made_of_anything_else() -> None:
    with pytest.raises(CorruptContent, match="no busybox"):
        plan_busybox(b"\x7fELF" + bytes(4096))


def test_planning_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    plan_python()
