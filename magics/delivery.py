"""From a command's result to the cell: a statement shows it as it comes, an assignment gets it as a value.

========== ============================= ===========================
result     ``%container …``              ``x = %container …``
========== ============================= ===========================
Foreground its output, as it comes       ``Output``
Logs       its output                    ``Output``
Stream     its lines, as they come       ``str``
Live       one output that changes       the first, as below
Table      HTML, or Docker's text table  ``Rows``
Document   JSON                          the JSON, decoded
Download   refused                       ``bytes``
Transfer   a bar for each layer          ``str``, its last lines
Lines      the lines                     ``str``
========== ============================= ===========================
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from IPython.display import DisplayHandle, display

from kernel_sandbox.commands.results import Document, Download, Foreground, Live, Logs, Result, Stream, Table, Transfer
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.runtime.frames import Ending, Frame
from kernel_sandbox.spec.progress import tell_nobody
from magics.bars import telling
from magics.interrupts import Interrupted, escalating
from magics.streams import Streams
from magics.values import Output, Rows


@dataclass(frozen=True)
class Delivery:
    """What a result needs on its way.

    *stdin* is the descriptor of a file with the cell's body; *keep* is for an
    assignment.
    """

    stdin: int
    keep: bool

    def deliver(self, result: Result) -> tuple[Any, int]:
        """The magic's value and the exit status. Raises the errors that the result brings along, and Interrupted."""
        match result:
            case Foreground():
                return self._foreground(result)
            case Logs():
                return self._copied(result.frames), 0
            case Stream():
                return self._lines(result), 0
            case Live():
                return self._live(result), 0
            case Download():
                return self._downloaded(result), 0
            case Transfer():
                return self._transferred(result), 0
        if not self.keep:
            _show(result)
        if any(error.exit_code for error in result.errors):
            raise _Failures(*result.errors)
        for warning in result.errors:
            print(warning, file=sys.stderr)
        return (_value(result) if self.keep else None), 0

    def _foreground(self, result: Foreground) -> tuple[Output | None, int]:
        self._hint_at_input(result.interactive)
        stdin = self.stdin if result.interactive else None
        with result.attachment as attachment, escalating(result.attachment.signal) as escalation:
            output = self._copied(attachment.output(stdin))
        if escalation.has_begun:
            raise Interrupted("interrupted: the container has ended")
        assert attachment.ending is not None
        status = attachment.ending.exit_code
        if output is not None:
            return msgspec.structs.replace(output, exit_code=status), status
        _explain(attachment.ending)
        return None, status

    def _hint_at_input(self, interactive: bool) -> None:
        """A cell's body is passed on with ``-i`` only, and ``-i`` reads nothing else."""
        has_body = os.fstat(self.stdin).st_size > 0
        if interactive and not has_body:
            print("standard input is empty: start the cell with %%container and write the input below", file=sys.stderr)
        if has_body and not interactive:
            print("the cell's body is not passed on: add -i for that", file=sys.stderr)

    def _copied(self, frames: Iterable[Frame]) -> Output | None:
        """Show what was written, or keep it."""
        if not self.keep:
            Streams(sys.stdout, sys.stderr).copy(frames)
            return None
        stdout, stderr = io.StringIO(), io.StringIO()
        Streams(stdout, stderr).copy(frames)
        return Output(stdout.getvalue(), stderr.getvalue())

    def _lines(self, result: Stream) -> str | None:
        if self.keep:
            return "\n".join(result.lines)
        for line in result.lines:
            print(line, flush=True)
        return None

    def _live(self, result: Live) -> Any:
        if self.keep:
            return _value(next(result.views))
        handle = DisplayHandle()
        for number, view in enumerate(result.views):
            shown = Rows(view) if isinstance(view, Table) else Output(view.text(), "")
            (handle.update if number else handle.display)(shown)
        return None

    def _downloaded(self, result: Download) -> bytes:
        if not self.keep:
            raise UsageError("this writes bytes: name a file with -o FILE, or keep them: data = %container …")
        with tempfile.TemporaryFile() as file:
            result.write(file.fileno())
            file.seek(0)
            return file.read()

    def _transferred(self, result: Transfer) -> str | None:
        if self.keep:
            return "\n".join(result.steps(tell_nobody))
        with telling() as tell:
            last = result.steps(tell)
        for line in last:
            print(line)
        return None


def _explain(ending: Ending) -> None:
    """A failure says so in one line."""
    if ending.oom_killed:
        print(f"container exited with status {ending.exit_code}: it reached its memory limit", file=sys.stderr)
    elif ending.exit_code:
        print(f"container exited with status {ending.exit_code}", file=sys.stderr)


def _value(result: Result) -> Any:
    match result:
        case Table():
            return Rows(result)
        case Document():
            return json.loads(result.json)
    return result.text()


def _show(result: Result) -> None:
    if isinstance(result, Table):
        display(Rows(result))
    elif text := result.text():
        print(text)


class _Failures(SandboxError):
    """Several failures as one: a line for each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))
