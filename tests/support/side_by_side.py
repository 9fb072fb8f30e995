"""The same command on a real Docker engine and on ours, their answers made comparable.

Both get one image, ``pair``, imported from one archive. What may differ by nature (ids, ages, column widths) is
masked; everything else is compared as it is.
"""

import io
import json
import re
import shlex
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.peers import Peer, busybox_rootfs
from support.store import Store

IMAGE = "pair"
_MASKS = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<ID>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?:Less than a|About an?|\d+) (?:second|minute)s?"), "<age>"),
)
_SPEAKER = re.compile(r"^(?:docker: |Error: |Error response from daemon: |kernel-sandbox: )+")


@dataclass(frozen=True)
class Outcome:
    """What one engine answered, masked. ``said`` is the first line of its standard error without the speaker."""

    status: int
    stdout: str
    said: str

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> "Outcome":
        first = next(iter(done.stderr.splitlines()), "")
        return cls(done.returncode, masked(done.stdout), masked(_SPEAKER.sub("", first)))

    @property
    def result(self) -> tuple[int, str]:
        """What has to be equal whatever the words of an error are."""
        return self.status, self.stdout

    def table(self) -> tuple[tuple[str, ...], ...]:
        """The cells of a table with a header line. A column starts where its title does."""
        lines = self.stdout.splitlines()
        starts = [match.start() for match in re.finditer(r"\S+(?: \S+)*", lines[0])]
        spans = list(zip(starts, [*starts[1:], None], strict=True))
        return tuple(tuple(line[start:end].rstrip() for start, end in spans) for line in lines)


def masked(text: str) -> str:
    """*text* without ids and ages; columns keep their places only while the masks have the widths of ids."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


@dataclass(frozen=True)
class Pair:
    """Docker and ours. Every method runs a command line, or part of one, on both and returns (docker's, ours)."""

    docker: Peer
    store: Store

    def raw(self, line: str, **options: Any) -> tuple[subprocess.CompletedProcess[Any], ...]:
        """The answers as they are. Docker's containers get no network, as ours have by default."""
        words = shlex.split(line)
        starts = words[0] in ("run", "create") and "--network" not in words
        for_docker = [words[0], "--network", "none", *words[1:]] if starts else words
        with ThreadPoolExecutor(2) as both:
            docker = both.submit(self.docker.cli, *for_docker, **options)
            ours = both.submit(self.store.cli, *words, **options)
            return docker.result(), ours.result()

    def run(self, line: str, **options: Any) -> tuple[Outcome, Outcome]:
        docker, ours = self.raw(line, **options)
        return Outcome.of(docker), Outcome.of(ours)

    def agree(self, line: str, **options: Any) -> Outcome:
        """Run it on both, insist on one result, and return ours."""
        docker, ours = self.run(line, **options)
        assert ours.result == docker.result, f"{line}\ndocker: {docker}\nours:   {ours}"
        return ours

    def tables(self, line: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """The cells of both tables, masked after they were cut."""
        cut = (Outcome(done.returncode, done.stdout, "").table() for done in self.raw(line))
        return tuple(tuple(tuple(map(masked, row)) for row in table) for table in cut)

    def documents(self, line: str) -> tuple[Any, ...]:
        """The first document of each ``inspect``."""
        return tuple(json.loads(done.stdout)[0] for done in self.raw(line))

    def forget(self, *containers: str) -> None:
        """Remove containers by force where they are."""
        for name in containers:
            self.docker.cli("rm", "-f", name)
            self.store.cli("rm", "-f", name)


def rich_rootfs_tar(directory: Path) -> Path:
    """A busybox root filesystem with users, owners, modes, links and odd names, as a tar archive."""
    root = busybox_rootfs(directory / "rich")
    for applet in ("cut", "expr", "false", "grep", "kill", "sort", "wc", "stat"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1000::/home/student:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nstudent:x:1000:\nwheel:x:10:student\n")
    (root / "opt").mkdir()
    (root / "opt/file").write_text("content\n")
    (root / "opt/hard").hardlink_to(root / "opt/file")
    (root / "opt/link").symlink_to("/etc/passwd")
    (root / "opt/dangling").symlink_to("nowhere")
    (root / "opt/a name with spaces é").write_text("")
    (root / "opt/setuid").write_text("")
    (root / "opt/setuid").chmod(0o4755)
    (root / "opt/sticky").mkdir()
    (root / "opt/sticky").chmod(0o1777)
    archive = directory / "rich.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".", filter=_with_root_or_student)
    return archive


def _with_root_or_student(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 1000 if member.name.endswith(("opt/file", "opt/hard")) else 0
    member.uname = member.gname = ""
    return member


def members(archive: bytes | Path) -> dict[str, tuple[object, ...]]:
    """What each member of a tar archive is: type, mode, owner, link target or content, by its name.

    Which of several hard links comes first is the writer's choice: each counts as the file.
    """
    source = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with source, tarfile.open(fileobj=source) as tar:
        return {member.name.strip("/"): _described(tar, member) for member in tar}


def _described(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    file = tar.extractfile(member) if member.isfile() or member.islnk() else None
    kind, content = ("file", file.read()) if file else (member.type, member.linkname)
    return (kind, oct(member.mode & 0o7777), member.uid, member.gid, content)
