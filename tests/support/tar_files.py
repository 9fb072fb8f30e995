"""Small archives, well made or hostile, for tests that import them."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}


@dataclass(frozen=True)
class Entry:
    """One member; ``content`` is a file's bytes, or where a link leads."""

    name: str
    kind: str = "file"
    content: str | bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


def directory(name: str, mode: int = 0o755) -> Entry:
    """A directory."""
    return Entry(name, "dir", mode=mode)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, "link", target, 0o777)


def tar_of(entries: Iterable[Entry]) -> bytes:
    """The entries as an uncompressed tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            archive.addfile(*_member(entry))
    return buffer.getvalue()


def _member(entry: Entry) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    info = tarfile.TarInfo(entry.name)
    info.type, info.mode, info.uid, info.gid, info.mtime = KINDS[entry.kind], entry.mode, entry.uid, entry.gid, 1000
    if entry.kind in ("link", "hard"):
        info.linkname = str(entry.content)
        return info, None
    content = entry.content.encode() if isinstance(entry.content, str) else entry.content
    info.size = len(content)
    return info, io.BytesIO(content) if entry.kind == "file" else None


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of an archive by name, without leading ``./`` and trailing slash."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name.removeprefix("./").strip("/"): member for member in tar}


def content(archive: bytes, name: str) -> bytes:
    """What a regular file of the archive holds."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()
