"""Scenarios: sequences of command lines that share containers, kept as text and run on one engine or another.

A scenario starts with ``== its name``; every further line is a step (``#`` starts a comment line):

- ``COMMAND``            everything it answers has to agree: exit code, standard output, standard error;
- ``COMMAND !! TEXT``    exit code and standard output have to agree, and both have to say TEXT on standard error;
- ``COMMAND !> TEXT``    the exit code has to agree, and both have to say TEXT, on one stream or the other;
- ``COMMAND << INPUT``   the same with INPUT, in which ``\\n`` is a new line, on standard input (before any ``!!``);
- ``cells COMMAND``      a table with a header line: its cells have to agree, whatever the widths of its columns;
- ``lines COMMAND``      standard output has to agree line by line in any order;
- ``host COMMAND``       a shell command of the machine, in the directory that the scenario has on each side;
- ``until COMMAND ~ TEXT``  no step: wait until COMMAND's standard output has TEXT (``!~``: has it no longer);
- ``differs REASON``   no step: ours answers the step before otherwise than Docker, on purpose;
- ``mark NAME``          no step: ``@NAME@`` is this moment in the lines that follow. ``@dir@`` is the directory.

What differs by nature (ids, ages, moments, the directory, who reports an error, the numbers of ``top``) is masked.
"""

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.side_by_side import Outcome, masked
from support.waiting import wait_until

Cli = Callable[..., subprocess.CompletedProcess[Any]]

_MOMENTS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "<moment>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \w+"), "<date>"),
)
_MAKERS_OF_IMAGES = ("import ", "commit ", "tag ", "load ")
_IMAGES_OF_ALL = ("pair:latest ", "busybox:latest ")
_NAMELESS = "<none>:<none>"
_SPEAKER = re.compile(r"^(?:docker: |Error: |Error response from daemon: |kernel-sandbox: )+", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What an engine answered to a step, masked; ``lines`` and ``cells`` are already in a comparable order."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Step:
    """One line of a scenario, cut into its parts. ``how`` is its leading word, or empty."""

    line: str
    how: str
    command: str
    input: str | None
    mark: str
    said: str
    differs: str = ""

    @classmethod
    def parse(cls, line: str) -> "Step":
        """Read a line of the grammar above."""
        rest, mark, said = re.fullmatch(r"(.*?)(?: (!!|!>) (.*))?", line).groups("")
        how, _, tail = rest.partition(" ")
        if how in ("cells", "lines", "host", "until", "mark"):
            rest = tail
        else:
            how = ""
        command, fed, given = rest.partition(" << ")
        text = given.encode().decode("unicode_escape") if fed else None
        return cls(line, how, command.strip(), text, mark, said)

    @property
    def counts(self) -> bool:
        """Whether it is compared at all."""
        return self.how not in ("until", "mark")

    def agreed(self, docker: Answer, ours: Answer) -> bool:
        """Whether the two answers agree as far as this step asks."""
        if not self.mark:
            return docker == ours
        heard = [(each.stderr if self.mark == "!!" else each.stdout + each.stderr) for each in (docker, ours)]
        alike = self.mark == "!>" or docker.stdout == ours.stdout
        return alike and docker.status == ours.status and all(self.said in each for each in heard)


@dataclass(frozen=True)
class Scenario:
    """A name and its steps."""

    name: str
    steps: tuple[Step, ...]


def scenarios(directory: Path) -> tuple[Scenario, ...]:
    """All that the text files of *directory* hold, file by file."""
    return tuple(scenario for file in sorted(directory.glob("*.txt")) for scenario in _parsed(file.read_text()))


def _parsed(text: str) -> Iterator[Scenario]:
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, *lines = (line.strip() for line in block.splitlines())
        steps: list[Step] = []
        for line in filter(None, lines):
            if line.startswith("differs "):
                steps[-1] = replace(steps[-1], differs=line.removeprefix("differs "))
            elif not line.startswith("#"):
                steps.append(Step.parse(line))
        yield Scenario(name, tuple(steps))


@dataclass
class Player:
    """Runs the steps of one scenario on one engine, in a directory of its own."""

    cli: Cli
    directory: Path
    network: tuple[str, ...]

    def play(self, scenario: Scenario) -> list[Answer]:
        """The answers to the steps that count, in order."""
        self.directory.mkdir()
        self._makes_images = any(step.command.startswith(_MAKERS_OF_IMAGES) for step in scenario.steps)
        self._marks = {"dir": str(self.directory)}
        return [answer for step in scenario.steps if (answer := self._answer(step)) is not None]

    def forget(self) -> None:
        """Remove all containers and volumes of the engine, and images if the scenario has made some."""
        for listing, removal in ((("ps", "-aq"), ("rm", "-f", "-v")), (("volume", "ls", "-q"), ("volume", "rm"))):
            if found := self.cli(*listing).stdout.split():
                self.cli(*removal, *found)
        if self._makes_images:
            rows = self.cli("images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").stdout.splitlines()
            names = [row.split() for row in rows if not row.startswith(_IMAGES_OF_ALL)]
            self.cli("rmi", "-f", *(id_ if name == _NAMELESS else name for name, id_ in names))

    def _answer(self, step: Step) -> Answer | None:
        command = re.sub(r"@(\w+)@", lambda match: self._marks[match[1]], step.command)
        if step.how == "mark":
            self._marks[step.command] = f"{time.time():.9f}"
        elif step.how == "until":
            self._wait(command)
        elif step.how == "host":
            return self._seen(
                step, subprocess.run(command, shell=True, cwd=self.directory, capture_output=True, text=True)
            )
        else:
            return self._seen(step, self._run(command, step.input))
        return None

    def _run(self, command: str, text: str | None = None) -> subprocess.CompletedProcess[Any]:
        words = shlex.split(command)
        if words[0] in ("run", "create") and "--network" not in words:
            words[1:1] = self.network
        given = {} if text is None else {"input": text}
        return self.cli(*words, cwd=self.directory, timeout=30, **given)

    def _wait(self, command: str) -> None:
        line, wanted, text = re.split(r" (!?~) ", command)
        wait_until(lambda: (text in self._run(line).stdout) == (wanted == "~"), 20, 0.1)

    def _seen(self, step: Step, done: subprocess.CompletedProcess[Any]) -> Answer:
        stdout = done.stdout
        if step.how == "lines":
            stdout = "\n".join(sorted(stdout.splitlines()))
        elif step.how == "cells":
            rows = Outcome(done.returncode, stdout, "").table() if stdout else ()
            stdout = "\n".join(" | ".join(row) for row in rows)
        if step.command.startswith("top "):
            stdout = re.sub(r"\d+", "<number>", stdout)
        return Answer(done.returncode, self._masked(stdout), _SPEAKER.sub("", self._masked(done.stderr)))

    def _masked(self, text: str) -> str:
        for pattern, mask in _MOMENTS:
            text = pattern.sub(mask, text)
        return masked(text.replace(str(self.directory), "<dir>"))
