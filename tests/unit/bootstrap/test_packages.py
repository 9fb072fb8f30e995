import sys
from pathlib import Path

import pytest

from kernel_sandbox.bootstrap import interpreter, packages
from kernel_sandbox.bootstrap.rootfs import Copy, Text
from kernel_sandbox.errors import HostError


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed distributions, the only one there is."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def _install(
    site: Path, name: str, requires: tuple[str, ...] = (), files: tuple[str, ...] = ("x.py",), scripts: str = ""
) -> None:
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {requirement}" for requirement in requires)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    (info / "entry_points.txt").write_text(scripts)


def _names(name: str) -> list[str]:
    return [package.metadata["Name"] for package in packages.closure(name)]


def test_requirements_are_followed_as_their_markers_and_extras_say(site: Path) -> None:
    _install(site, "top", ("Mid.Dle[fast]", "no-such; sys_platform == 'win32'", "no-such; extra == 'docs'"))
    _install(site, "mid-dle", ("quick; extra == 'fast'", "slow; extra == 'slow'", "top"))
    _install(site, "quick")
    assert _names("top") == ["mid-dle", "quick", "top"]


def test_a_requirement_that_is_not_installed_is_named(site: Path) -> None:
    _install(site, "top", ("gone",))
    with pytest.raises(HostError, match="top needs gone, which is not installed: run `pip install top`"):
        packages.closure("top")


def test_a_distribution_without_a_record_is_refused_but_may_be_absent(site: Path) -> None:
    _install(site, "top", files=())
    with pytest.raises(HostError, match="top has no record of its files"):
        packages.closure("top")
    assert packages.optional("top") == packages.optional("gone") == ()


def test_only_recorded_files_beneath_the_packages_are_taken(site: Path) -> None:
    python = interpreter.running()
    omitted = ("../../../bin/top", "/etc/shadow", "top/../../x", "top/tests/t.py", "top/__pycache__/m.pyc", "top/m.c")
    kept = ("top/m.py", 'top/"odd, name".txt', "top/_native.so", "top.libs/libx.so.1")
    _install(site, "top", files=(*omitted, *kept))
    (package,) = packages.closure("top")
    record = f"{package.locate_file('')}/top-1.0.dist-info/RECORD"
    Path(record).write_text("".join('"{}",,\n'.format(file.replace('"', '""')) for file in (*omitted, *kept)))
    copies = [entry for entry in packages.entries(package, python) if isinstance(entry, Copy)]
    assert [copy.path for copy in copies] == [f"{python.packages}/{file}" for file in kept]
    assert [copy.source for copy in copies] == [f"{site}/{file}" for file in kept]


def test_console_scripts_start_the_new_interpreter(site: Path) -> None:
    python = interpreter.running()
    _install(site, "top", scripts="[console_scripts]\ntop = top.cli:App.main\n[other]\nx = y:z\n")
    (package,) = packages.closure("top")
    (script,) = (entry for entry in packages.entries(package, python) if isinstance(entry, Text))
    assert script.path == f"{python.scripts}/top"
    assert script.mode == 0o755
    assert script.content.decode().splitlines() == [
        f"#!/{python.program}",
        "import sys",
        "",
        "from top.cli import App",
        "",
        "sys.exit(App.main())",
    ]
