"""The shared libraries that programs need, found as the dynamic loader finds them (ld.so(8)) but never running it.

In the root filesystem a library lies where its user's ``$ORIGIN`` says, and otherwise in the directory of the C
library, which the loader searches without a cache. Which programs there are is decided elsewhere.
"""

import glob
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from posixpath import basename, dirname, isabs, join, normpath

from kernel_sandbox.bootstrap.rootfs import Copy
from kernel_sandbox.errors import CorruptContent, HostError
from kernel_sandbox.spec import elf

_STANDARD = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_EXPECTED = (
    # Opened by the C library by name, without being listed as needed.
    *("libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"),
    # What a manylinux wheel takes for granted (PEP 513, PEP 599).
    *(
        "libm.so.6",
        "libdl.so.2",
        "librt.so.1",
        "libutil.so.1",
        "libpthread.so.0",
        "libresolv.so.2",
        "libstdc++.so.6",
    ),
    "libz.so.1",
)
_MAX_INCLUDES = 64


@dataclass(frozen=True, slots=True)
class _Found:
    """A library on the machine, and where it lies in the root filesystem."""

    source: str
    path: str
    image: elf.Elf


def closure(programs: Iterable[Copy], anchor: Copy) -> Iterator[Copy]:
    """Every library and dynamic loader that ``programs`` need; those among them that are not ELF files need none.

    ``anchor`` is the program whose machine type and C library are everyone's. A library that the machine itself does
    not have is left out: its user does not work here either. Raises HostError if ``anchor`` is no ELF file.
    """
    reference = _read(anchor.source)
    if reference is None:
        raise HostError(f"{anchor.source} is not an ELF program: use a Python built for this machine")
    search = _Search(reference, anchor)
    pending = [(program.source, program.path, image) for program in programs if (image := _read(program.source))]
    pending += [(found.source, found.path, found.image) for name in _EXPECTED for found in search.default(name)]
    done: set[str] = set()
    while pending:
        source, path, image = pending.pop()
        if path in done or not image.fits(reference):
            continue
        done.add(path)
        yield Copy(path, source)
        if image.interpreter:
            yield Copy(image.interpreter.lstrip("/"), os.path.realpath(image.interpreter))
        for name in image.needed:
            pending += [(found.source, found.path, found.image) for found in search.needed(name, source, path, image)]


class _Search:
    """Where libraries are, for one machine type."""

    def __init__(self, reference: elf.Elf, anchor: Copy) -> None:
        self._reference = reference
        self._loader = basename(reference.interpreter)
        self._inherited = () if reference.runpath else tuple(_expand(d, anchor.source) for d in reference.rpath)
        self._defaults = tuple(dict.fromkeys((*_standard(), *_configured("/etc/ld.so.conf"))))
        self._environment = tuple(d for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if isabs(d))
        self._home = _STANDARD[-1]
        for name in reference.needed:
            if name.startswith("libc."):
                self._home = next((dirname(source) for source, _ in self._in(self._defaults, name)), self._home)

    def needed(self, name: str, source: str, path: str, image: elf.Elf) -> Iterator[_Found]:
        """The library ``name`` as the file at ``source``, which will lie at ``path``, finds it: one, or none."""
        if "/" in name or name == self._loader:
            return
        for directory in image.runpath or image.rpath:
            for found, library in self._in((_expand(directory, source),), name):
                at = _expand(directory, "/" + path) if "ORIGIN" in directory else self._home
                yield _Found(found, join(at, name).lstrip("/"), library)
                return
        yield from self.default(name)

    def default(self, name: str) -> Iterator[_Found]:
        """The library ``name`` in the directories that serve every program: one, or none."""
        for found, library in self._in((*self._inherited, *self._environment, *self._defaults), name):
            yield _Found(found, join(self._home, name).lstrip("/"), library)
            return

    def _in(self, directories: Iterable[str], name: str) -> Iterator[tuple[str, elf.Elf]]:
        for directory in directories:
            candidate = join(directory, name)
            image = _read(candidate)
            if image is not None and image.fits(self._reference):
                yield candidate, image


def _read(path: str) -> elf.Elf | None:
    """The headers of the file at ``path``; None if it is not there or is not an ELF file (a script, say)."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != elf.MAGIC:
                return None
            return elf.parse(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, CorruptContent):
        return None


def _expand(directory: str, user: str) -> str:
    """A search directory as ``user``, an absolute path, means it (ld.so(8), "Dynamic string tokens")."""
    origin = dirname(user)
    return normpath(directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))


def _standard() -> Iterator[str]:
    multiarch = getattr(sys.implementation, "_multiarch", "")
    if multiarch:
        yield from (f"/lib/{multiarch}", f"/usr/lib/{multiarch}")
    yield from _STANDARD


def _configured(path: str) -> Iterator[str]:
    """The directories that ldconfig(8) is told of in ``path`` and the files it includes."""
    pending, read = [path], 0
    while pending and read < _MAX_INCLUDES:
        read += 1
        try:
            with open(pending.pop(0), encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for words in (line.partition("#")[0].split() for line in lines):
            if words[:1] == ["include"]:
                pending += [name for pattern in words[1:] for name in sorted(glob.glob(join("/etc", pattern)))]
            elif words and isabs(words[0]):
                yield words[0]
