"""``logs``: which lines of a container's log a user wants, and what is to stand before each.

A line's time is that of its first byte. Docker's rules: the last lines are counted over both streams, and the times
choose among those.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kernel_sandbox.runtime import log, sessions
from kernel_sandbox.runtime.frames import Decoder, Frame, Kind
from kernel_sandbox.spec.times import SECOND, rfc3339

_CHUNK = 1 << 18
_OUTPUT = (Kind.STDOUT, Kind.STDERR)


class Selection(msgspec.Struct, frozen=True):
    """What to show: the last *tail* lines (None for all), those from *since* to *until* (nanoseconds since the epoch),
    each with its time and details before it; with *follow* also what is written from here on. *attributes* are the
    details that the container's log has, as ``attributes`` writes them."""

    follow: bool = False
    tail: int | None = None
    since: int | None = None
    until: int | None = None
    timestamps: bool = False
    details: bool = False
    attributes: str = ""

    @property
    def is_everything(self) -> bool:
        """Whether the output is wanted as it was written."""
        return msgspec.structs.replace(self, follow=False) == EVERYTHING


EVERYTHING = Selection()


def attributes(options: Mapping[str, str], labels: Mapping[str, str], env: Iterable[str]) -> str:
    """What a container's log *options* ``labels`` and ``env`` choose of both for the details: ``A=1,label=x``."""
    variables = dict(entry.partition("=")[::2] for entry in env)
    chosen = {**_chosen(options.get("labels", ""), labels), **_chosen(options.get("env", ""), variables)}
    return ",".join(f"{name}={value}" for name, value in sorted(chosen.items()))


def _chosen(names: str, of: Mapping[str, str]) -> dict[str, str]:
    return {name: of[name] for name in names.split(",") if name in of}


def read(path: str, wanted: Selection, socket_path: str | None) -> Iterator[Frame]:
    """The wanted output of the log in the directory *path*, in pieces.

    To be followed, it comes from the monitor that listens at *socket_path*, None where there is none.
    """
    start, skipped = _beginning(path, wanted)
    as_written = wanted.is_everything
    pieces = None
    if wanted.follow and socket_path is not None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            pieces = _followed(sessions.connect(socket_path), path, start, wanted.until)
    if pieces is None:
        blocks = log.blocks(path, start, log.end(path))
        pieces = (piece for block in blocks for piece in (block.output() if as_written else block.frames()))
    return pieces if as_written else _Lines(wanted, skipped).chosen(pieces)


def _beginning(path: str, wanted: Selection) -> tuple[int, int]:
    """A frame at or before the first wanted line, and how many lines from there on are not wanted yet."""
    if wanted.tail is not None:
        return _last_lines(path, wanted.tail)
    if wanted.since is not None:
        return _first_since(path, wanted.since), 0
    return 0, 0


def _last_lines(path: str, count: int) -> tuple[int, int]:
    """Where the last so many lines begin; the frame, and how many lines of it and after it come before them."""
    if count == 0:
        return log.end(path), 0
    found = start = 0
    for block in log.blocks_backwards(path):
        found += sum(map(_line_starts, block.frames()))
        start = block.offset
        if found >= count:
            break
    return start, max(0, found - count)


def _line_starts(frame: Frame) -> int:
    return frame.payload.count(b"\n") + (not frame.continues) - frame.payload.endswith(b"\n")


def _first_since(path: str, since: int) -> int:
    """A block before everything that was written since then."""
    start = 0
    for block in log.blocks_backwards(path):
        start = block.offset
        if next((frame.time for frame in block.frames()), since) < since:
            break
    return start


def _followed(connection: socket.socket, path: str, start: int, until: int | None) -> Iterator[Frame]:
    """What the monitor has from *start* on, until the container ends or the time has come.

    One that ended before it could answer has written everything into the log.
    """
    decoder, poll, has_answered = Decoder(), select.poll(), False
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(Frame(Kind.FOLLOW, str(start).encode()).encode())
        poll.register(connection, select.POLLIN)
        while until is None or time.time_ns() <= until:
            if not poll.poll(None if until is None else max(0, until - time.time_ns()) / SECOND * 1000 + 1):
                continue
            data = connection.recv(_CHUNK)
            if not data:
                break
            has_answered = True
            yield from (frame for frame in decoder.feed(data) if frame.kind in _OUTPUT)
        else:
            return
    if not has_answered:
        for block in log.blocks(path, start, log.end(path)):
            yield from block.frames()


class _Lines:
    """The lines out of the output; of the first *skipped* ones nothing is shown."""

    def __init__(self, wanted: Selection, skipped: int) -> None:
        self._wanted = wanted
        self._skipped = skipped
        self._unfinished: set[Kind] = set()

    def chosen(self, pieces: Iterable[Frame]) -> Iterator[Frame]:
        """What of the output is to be shown; a line that has begun is shown to its end."""
        for frame in pieces:
            if self._wanted.until is not None and frame.time > self._wanted.until and not self._unfinished:
                return
            if payload := self._shown(frame):
                yield Frame(frame.kind, payload, frame.time, frame.continues)

    def _shown(self, frame: Frame) -> bytes:
        """The frame's part of a line that is being shown, and its own lines."""
        payload = frame.payload
        begins = (payload.find(b"\n") + 1 or len(payload)) if frame.continues else 0
        shown = payload[:begins] if frame.kind in self._unfinished else b""
        lines = payload[begins:]
        if begins and payload[begins - 1 : begins] == b"\n":
            self._unfinished.discard(frame.kind)
        if lines:
            lines = self._wanted_lines(frame, lines)
            is_open = bool(lines) and not lines.endswith(b"\n")
            (self._unfinished.add if is_open else self._unfinished.discard)(frame.kind)
        return shown + self._prefixed(frame, lines)

    def _wanted_lines(self, frame: Frame, lines: bytes) -> bytes:
        while self._skipped and lines:
            self._skipped -= 1
            lines = lines[lines.find(b"\n") + 1 or len(lines) :]
        early = self._wanted.since is not None and frame.time < self._wanted.since
        late = self._wanted.until is not None and frame.time > self._wanted.until
        return b"" if early or late else lines

    def _prefixed(self, frame: Frame, lines: bytes) -> bytes:
        prefix = f"{rfc3339(frame.time)} " if self._wanted.timestamps else ""
        if self._wanted.details:
            prefix += f"{self._wanted.attributes} "
        if not lines or not prefix:
            return lines
        begin = prefix.encode()
        return begin + lines[:-1].replace(b"\n", b"\n" + begin) + lines[-1:]
