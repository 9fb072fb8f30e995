"""The running Python interpreter: where its parts are on this machine, and where they go in the root filesystem.

Its executable and its standard library belong here; installed packages and shared libraries do not.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import cache_from_source
from posixpath import basename, join, relpath

from kernel_sandbox.bootstrap.rootfs import Bytecode, Copy, Directory, Entry, Symlink
from kernel_sandbox.errors import HostError

_PUBLIC_PREFIXES = ("/usr", "/usr/local")
_OMITTED = {
    *("__pycache__", "site-packages", "dist-packages"),
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "turtle.py"),
    *("sitecustomize.py", "usercustomize.py", "EXTERNALLY-MANAGED"),  # these speak of this machine
}
_OMITTED_PREFIXES = ("config-", "_test", "_tkinter.", "_ctypes_test.", "_xxtestfuzz.", "xxlimited")
_OMITTED_SUFFIXES = (".a", ".o", ".pyc", ".exe")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An installation of Python. Paths on the machine are absolute; the others are relative to the new root."""

    version: str
    """``X.Y``."""
    release: str
    """``X.Y.Z`` and what follows, as in ``python --version``."""
    executable: str
    """The real executable, not a shim, a link or a virtual environment's."""
    stdlib: str
    program: str
    """Where the executable goes."""
    library: str
    """Where the standard library goes: the executable finds it by its own location (sys.path initialisation)."""
    packages: str
    """The directory that pip installs to, which the interpreter searches."""
    scripts: str
    """The directory of pip's console scripts."""


def running() -> Interpreter:
    """The interpreter of this process, behind any virtual environment.

    It keeps its prefix where that is /usr or /usr/local and goes to /usr/local otherwise: a prefix in a home
    directory would be out of reach of the container's other users. Raises HostError if its parts are not to be found.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    prefix = sys.base_prefix if sys.base_prefix in _PUBLIC_PREFIXES else "/usr/local"
    executable = os.path.realpath(join(sys.base_exec_prefix, "bin", f"python{version}"))
    stdlib = sysconfig.get_path("stdlib", "posix_prefix")
    for part in (executable, join(stdlib, "os.py")):
        if not os.path.isfile(part):
            raise HostError(f"this Python has no file {part}: bootstrap with a complete installation of Python")
    # Debian's Python installs to another scheme than the one it is itself installed by.
    scheme = "posix_local" if "posix_local" in sysconfig.get_scheme_names() else "posix_prefix"
    bases = {"base": prefix, "platbase": prefix}
    return Interpreter(
        version=version,
        release=sys.version.split()[0],
        executable=executable,
        stdlib=stdlib,
        program=_beneath_root(join(prefix, "bin", f"python{version}")),
        library=_beneath_root(join(prefix, relpath(stdlib, sys.base_prefix))),
        packages=_beneath_root(sysconfig.get_path("purelib", scheme, bases)),
        scripts=_beneath_root(sysconfig.get_path("scripts", scheme, bases)),
    )


def entries(python: Interpreter) -> Iterator[Entry]:
    """The executable under its usual names, and the standard library with its bytecode."""
    yield Copy(python.program, python.executable)
    for name in ("python", "python3"):
        yield Symlink(join(python.program, "..", name), basename(python.program))
    yield Directory(python.packages)
    for source in _files(python.stdlib):
        yield from module(join(python.library, relpath(source, python.stdlib)), source)


def module(path: str, source: str) -> Iterator[Entry]:
    """A file of a package; a Python file comes with its bytecode, so that no import compiles it again."""
    yield Copy(path, source)
    if path.endswith(".py"):
        yield Bytecode(cache_from_source(path, optimization=""), source, path)


def _files(directory: str) -> Iterator[str]:
    with os.scandir(directory) as found:
        for entry in found:
            name = entry.name
            if name in _OMITTED or name.startswith(_OMITTED_PREFIXES) or name.endswith(_OMITTED_SUFFIXES):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.is_file():
                yield entry.path


def _beneath_root(path: str) -> str:
    return path.lstrip("/")
