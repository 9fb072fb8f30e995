"""What commands are: their surroundings, and how a command line is read and carried out, with Docker's manners."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from kernel_sandbox.commands import flags, help_page
from kernel_sandbox.commands.results import Transfer
from kernel_sandbox.commands.syntax import Argument, Option, Parameter, takes_invocation
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.progress import Tell, tell_nobody

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine
    from kernel_sandbox.spec.runtime import ConsoleSize

_FAILED_TO_RUN = 125
_HELP_NAMES = ("-h", "--help")

Entry = tuple[str, str]
"""Where a command is, ``module:attribute`` in this package, and what it does, in a sentence."""


def _cannot_ask(warning: str) -> bool:
    """Where nobody can be asked, what removes things wants to be told so at once."""
    raise UsageError(f"{warning.splitlines()[0]} Add -f to go on without being asked")


def cannot_answer(question: str, secret: bool) -> NoReturn:
    """What ``ask`` does where nobody is. Raises NotATerminal."""
    raise NotATerminal("Cannot perform an interactive login from a non TTY device: use -u and --password-stdin")


def _telling_nobody() -> AbstractContextManager[Tell]:
    return nullcontext(tell_nobody)


class Context(msgspec.Struct, frozen=True, dict=True):
    """What commands need of their front end.

    ``open_engine`` is called when a command first needs the store; ``stdin`` is the descriptor that ``import -`` reads;
    ``environment`` is where ``-e NAME`` looks; ``program`` is what help and complaints call the front end;
    ``console`` is the size of its terminal, if it has one; ``confirm`` shows a warning and asks whether to go on;
    ``ask`` shows a question and returns the line that answers it, which does not show where it is *secret*;
    where it ``lends_terminal``, ``-it`` makes *stdin* the terminal's other end; ``telling`` is for work that a command
    does before its own: what it is told is shown apart from the result.
    """

    open_engine: Callable[[], Engine]
    stdin: int = 0
    environment: Mapping[str, str] = os.environ
    program: str = "kernel-sandbox"
    console: ConsoleSize | None = None
    confirm: Callable[[str], bool] = _cannot_ask
    ask: Callable[[str, bool], str] = cannot_answer
    lends_terminal: bool = False
    telling: Callable[[], AbstractContextManager[Tell]] = _telling_nobody

    @cached_property
    def engine(self) -> Engine:
        return self.open_engine()

    def check_terminal(self, interactive: bool, tty: bool) -> None:
        """Raise NotATerminal where a terminal is asked for and standard input, which is to be passed on, is none."""
        if interactive and tty and self.lends_terminal and not os.isatty(self.stdin):
            raise NotATerminal("the input device is not a TTY")


class NotATerminal(SandboxError):
    """Standard input is not a terminal: leave ``-t`` out, or run it on one. Exit code 1 from every command."""


class HelpAsked(Exception):
    """``--help``: the text is the outcome, whatever else was written."""


class Invocation:
    """A command that is being carried out: ``words`` are its own and those of the groups that it was found in.

    ``given`` are the names of the parameters that the command line tells.
    """

    def __init__(self, context: Context, words: tuple[str, ...], given: frozenset[str] = frozenset()) -> None:
        self.context = context
        self.words = words
        self.given = given

    @property
    def path(self) -> str:
        """What the user has written to come here: ``kernel-sandbox image ls``."""
        return " ".join(self.words)

    def complaint(self, error: object) -> str:
        """A complaint about what else the user has written, with the place to look."""
        return f"{error}; see '{self.path} --help'"


class Command:
    """A command that reads its flags as Docker's do, and whose failures have exit code 1, as those of Docker's daemon.

    ``flags_may_follow`` tells whether there may be flags after the first word.
    """

    flags_may_follow = True

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        params: Sequence[Parameter] = (),
        help_names: tuple[str, ...] = _HELP_NAMES,
    ) -> None:
        self.name = name
        self.about = function.__doc__ or ""
        self.arguments = [each for each in params if isinstance(each, Argument)]
        self.options = [each for each in params if isinstance(each, Option)]
        taken = {name for option in self.options for name in option.opts}
        free = [name for name in help_names if name not in taken]
        self.help_option = Option(free, is_flag=True, expose_value=False, help="Show this message and exit.")
        self.options.append(self.help_option)
        self._function = function

    def carry_out(self, invocation: Invocation, line: Sequence[str]) -> object:
        """Read the words that follow the command's own and call its function; what that returns.

        Raises HelpAsked, and SandboxError for every mistake of the user's.
        """
        values = self._values(invocation, line)
        first = invocation if takes_invocation(self._function) else invocation.context
        with self._exit_codes():
            result = self._function(first, **values)
        if isinstance(result, Transfer):
            return msgspec.structs.replace(result, steps=self._exit_codes()(result.steps))
        return result

    def split(self, invocation: Invocation, line: Sequence[str]) -> flags.Split:
        """Tell flags and other words apart. Raises UsageError, HelpAsked."""
        try:
            found = flags.split(line, self.options, self.flags_may_follow)
        except UsageError as error:
            raise UsageError(invocation.complaint(error)) from None
        if self.help_option in found.given:
            raise HelpAsked(self.help(invocation))
        return found

    def help(self, invocation: Invocation) -> str:
        """What ``--help`` says."""
        words = (each.shown for each in self.arguments)
        return help_page.text((invocation.path, "[OPTIONS]", *words), self.about, self.options, {})

    def _values(self, invocation: Invocation, line: Sequence[str]) -> dict[str, Any]:
        """What the function gets. What is given is read first, in its order: of two mistakes the first one is told."""
        found = self.split(invocation, line)
        invocation.given = frozenset(each.name for each in found.given)
        options = (*found.given, *(each for each in self.options if each not in found.given))
        try:
            values: dict[Parameter, Any] = {each: each.value(found.given.get(each, ())) for each in options}
            assigned = self._assigned(invocation, found.words)
            values |= {each: each.value(texts) for each, texts in assigned.items()}
        except UsageError as error:
            raise UsageError(invocation.complaint(error)) from None
        return {each.name: value for each, value in values.items() if each.expose_value}

    def _assigned(self, invocation: Invocation, words: Sequence[str]) -> dict[Argument, Sequence[str]]:
        """The words of each argument. Raises SandboxError for another number of them than the command takes."""
        left = list(words)
        assigned: dict[Argument, Sequence[str]] = {}
        for each in self.arguments:
            count = len(left) if each.nargs < 0 else each.nargs
            assigned[each], left = left[:count], left[count:]
        if left or any(each.required and not assigned[each] for each in self.arguments):
            raise SandboxError(invocation.complaint(f'"{invocation.path}" {self.arity}'))
        return assigned

    @property
    def arity(self) -> str:
        """How many words the command takes, as Docker tells those who gave another number."""
        least = sum(abs(each.nargs) for each in self.arguments if each.required)
        most = sum(each.nargs for each in self.arguments) if all(each.nargs > 0 for each in self.arguments) else None
        if most is None:
            return f"requires at least {_arguments(least)}"
        if most == 0:
            return "accepts no arguments"
        if least == most:
            return f"requires exactly {_arguments(most)}"
        if least == 0:
            return f"requires at most {_arguments(most)}"
        return f"requires at least {least} and at most {_arguments(most)}"

    @contextmanager
    def _exit_codes(self) -> Iterator[None]:
        try:
            yield
        except SandboxError as error:
            error.exit_code = self.exit_code(error)
            raise

    def exit_code(self, error: SandboxError) -> int:
        """The program's exit code for an error of this command."""
        return 1


class FlagsFirstCommand(Command):
    """A command whose flags end at its first word."""

    flags_may_follow = False


class FlagError(UsageError):
    """Flags that Docker's client refuses, before its daemon hears of them."""


class CreatingCommand(FlagsFirstCommand):
    """``create``: what its flags mean together is a matter of flags still."""

    def exit_code(self, error: SandboxError) -> int:
        return error.exit_code if isinstance(error, FlagError) else super().exit_code(error)


class RunCommand(CreatingCommand):
    """``run``: 125 for what fails on our side, else what the container's own start gives."""

    def exit_code(self, error: SandboxError) -> int:
        return error.exit_code if error.exit_code > 1 or isinstance(error, NotATerminal) else _FAILED_TO_RUN


class Group(FlagsFirstCommand):
    """A group of commands, listed in the order in which they were added; each is imported when it is needed."""

    def __init__(self, about: str) -> None:
        super().__init__("", lambda _: None)
        self.about = about
        self.summaries: dict[str, str] = {}
        """What help lists: names, and what they do in a sentence."""
        self._places: dict[str, str] = {}

    def add(self, commands: Mapping[str, Entry], aliases: Mapping[str, str] = {}) -> None:
        """Add commands by their names; *aliases* are further names, with places, that help does not list."""
        self.summaries |= {name: summary for name, (_, summary) in commands.items()}
        self._places |= {**{name: place for name, (place, _) in commands.items()}, **aliases}

    def help(self, invocation: Invocation) -> str:
        words = (invocation.path, "[OPTIONS]", "COMMAND", "[ARGS]...")
        return help_page.text(words, self.about, self.options, self.summaries)

    def find(self, name: str) -> Command | None:
        """The command of this name, if there is one."""
        place = self._places.get(name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: Command = getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
        return command

    def carry_out(self, invocation: Invocation, line: Sequence[str]) -> object:
        """Carry out the command that the line names; without one the outcome is help. Raises as a command's does."""
        words = self.split(invocation, line).words
        if not words:
            raise HelpAsked(self.help(invocation))
        name, *rest = words
        command = self.find(name)
        if command is None:
            raise SandboxError(invocation.complaint(f"'{name}' is not a {invocation.path} command"))
        return command.carry_out(Invocation(invocation.context, (*invocation.words, name)), rest)


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"
