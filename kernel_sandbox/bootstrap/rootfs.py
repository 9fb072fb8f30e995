"""The values a plan is made of: the entries of a root filesystem, and the image they become.

Pure: nothing here looks at the machine. Gathering entries belongs to the modules named for what they gather, writing
them to `archive`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from posixpath import dirname, normpath

MERGED = ("bin", "lib", "lib64", "sbin")
"""Top directories that are symbolic links into /usr, as in every current distribution (file-hierarchy(7))."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory. ``path`` is relative to the root, without ``.``, ``..`` or a leading slash, in every entry."""

    path: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link; ``target`` is written as it is."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Text:
    """A regular file whose content is part of the plan."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Copy:
    """A regular file with the content of the machine's file ``source``; executable if the source is."""

    path: str
    source: str


@dataclass(frozen=True, slots=True)
class Bytecode:
    """The compiled form of the Python file ``source``, which lies at ``module`` in the root filesystem.

    A file that does not compile (a template, say) leaves no entry.
    """

    path: str
    source: str
    module: str


Entry = Directory | Symlink | Text | Copy | Bytecode


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A root filesystem to be made, and what the image around it says (image-spec, config.md)."""

    reference: str
    entries: tuple[Entry, ...]
    """Sorted by path, each path once, each parent directory present."""
    env: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str = "/"
    labels: tuple[tuple[str, str], ...] = ()


def assemble(*groups: Iterable[Entry]) -> tuple[Entry, ...]:
    """Put entries in order: canonical paths, parents added, sorted; of two with one path the later group's stays."""
    found: dict[str, Entry] = {}
    for group in groups:
        for entry in group:
            path = _canonical(entry.path)
            found[path] = entry if entry.path == path else replace(entry, path=path)
    for path in tuple(found):
        parent = dirname(path)
        while parent and parent not in found:
            found[parent] = Directory(parent)
            parent = dirname(parent)
    return tuple(found[path] for path in sorted(found))


def _canonical(path: str) -> str:
    path = normpath("/" + path).lstrip("/")
    top, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and top in MERGED else path
