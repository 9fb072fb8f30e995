"""``cp``: reading its two places, and where a copy goes when its destination exists or does not.

Docker's rules are in its reference of ``docker cp``. Paths are taken as they are written; nothing here looks at a disk.
"""

from __future__ import annotations

import posixpath

import msgspec

from kernel_sandbox.errors import SandboxError

STREAM = "-"


class Place(msgspec.Struct, frozen=True):
    """One of ``cp``'s two places: a path, and the container it is in, empty for the caller's own machine."""

    container: str
    path: str


def parse_place(text: str) -> Place:
    """``CONTAINER:PATH`` or ``PATH``: an absolute path, or one that starts with a dot, may have colons in it."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return Place("", text)
    return Place(container, path)


class Route(msgspec.Struct, frozen=True):
    """A copy between the caller's machine and *container*, into that one or out of it."""

    container: str
    source: str
    destination: str
    is_inward: bool


def parse_route(source: str, destination: str) -> Route:
    """Both of ``cp``'s arguments. Raises SandboxError for what Docker refuses."""
    if not source:
        raise SandboxError("source can not be empty")
    if not destination:
        raise SandboxError("destination can not be empty")
    start, end = parse_place(source), parse_place(destination)
    if start.container and end.container:
        raise SandboxError("copying between containers is not supported")
    if not start.container and not end.container:
        raise SandboxError("must specify at least one container source")
    if start.container and not start.path:
        raise SandboxError("bad parameter: the path cannot be empty")
    if end.container and not end.path:
        raise SandboxError("no such directory")
    return Route(start.container or end.container, start.path, end.path, bool(end.container))


class Path(msgspec.Struct, frozen=True):
    """An absolute path without ``.`` and ``..`` in it, and what its end asked for.

    ``is_directory``: it ended in a slash, or in a dot; ``is_content``: in a dot, which is what is in the directory.
    """

    text: str
    is_directory: bool = False
    is_content: bool = False

    @property
    def parent(self) -> str:
        """The directory that holds it; for ``x/.`` that is ``x``."""
        return self.text if self.is_content else posixpath.dirname(self.text)

    @property
    def name(self) -> str:
        return "." if self.is_content else posixpath.basename(self.text) or "/"


def parse_path(text: str, base: str = "/") -> Path:
    """*text* as seen from the absolute path *base*."""
    joined = posixpath.normpath(posixpath.join(base, text))
    is_content = posixpath.basename(text) == "."
    return Path("/" + joined.lstrip("/"), is_content or text.endswith("/"), is_content)


def takes_new_name(source_is_directory: bool, exists: bool, is_directory: bool, wants_directory: bool) -> bool:
    """Whether the copy gets the destination's last name, rather than its own inside of it.

    *exists* and *is_directory* tell what is at the destination, *wants_directory* that its path ends in a slash. Raises
    SandboxError where it cannot go there.
    """
    if exists and is_directory:
        return False
    if exists and source_is_directory:
        raise SandboxError("cannot copy directory")
    if not exists and wants_directory and not source_is_directory:
        raise SandboxError("no such directory")
    return True
