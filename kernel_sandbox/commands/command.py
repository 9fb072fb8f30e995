"""What commands are made of: their surroundings, and click's classes with Docker's manners."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from kernel_sandbox.commands import flags
from kernel_sandbox.commands.results import Transfer
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.progress import Tell, tell_nobody

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine
    from kernel_sandbox.spec.runtime import ConsoleSize

_FAILED_TO_RUN = 125


def _cannot_ask(warning: str) -> bool:
    """Where nobody can be asked, what removes things wants to be told so at once."""
    raise UsageError(f"{warning.splitlines()[0]} Add -f to go on without being asked")


def cannot_answer(question: str, secret: bool) -> NoReturn:
    """What ``ask`` does where nobody is. Raises NotATerminal."""
    raise NotATerminal("Cannot perform an interactive login from a non TTY device: use -u and --password-stdin")


def _telling_nobody() -> AbstractContextManager[Tell]:
    return nullcontext(tell_nobody)


@dataclass(frozen=True)
class Context:
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
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
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


def _ask_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        raise HelpAsked(context.get_help())


class Command(click.Command):
    """A command that reads its flags as Docker's do, and whose failures have exit code 1, as those of Docker's daemon.

    ``allow_interspersed_args``, which is click's, tells whether flags may follow the first word.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read flags as pflag does, then let click fill its parameters. Raises UsageError."""
        options = (each for each in self.get_params(ctx) if isinstance(each, click.Option))
        try:
            found = flags.split(args, options, self.allow_interspersed_args)
            return super().parse_args(ctx, [*found.flags, *(("--", *found.words) if found.words else ())])
        except UsageError as error:
            raise UsageError(f"{error}; see '{ctx.command_path} --help'") from None

    @property
    def arity(self) -> str:
        """How many words the command takes, as Docker tells those who gave another number."""
        arguments = [each for each in self.params if isinstance(each, click.Argument)]
        least = sum(abs(each.nargs) for each in arguments if each.required)
        most = sum(each.nargs for each in arguments) if all(each.nargs > 0 for each in arguments) else None
        if most is None:
            return f"requires at least {_arguments(least)}"
        if most == 0:
            return "accepts no arguments"
        if least == most:
            return f"requires exactly {_arguments(most)}"
        if least == 0:
            return f"requires at most {_arguments(most)}"
        return f"requires at least {least} and at most {_arguments(most)}"

    def invoke(self, ctx: click.Context) -> object:
        with self._exit_codes():
            result = super().invoke(ctx)
        if isinstance(result, Transfer):
            return msgspec.structs.replace(result, steps=self._exit_codes()(result.steps))
        return result

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

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _quiet(super().get_help_option(ctx))


class FlagError(UsageError):
    """Flags that Docker's client refuses, before its daemon hears of them."""


class CreatingCommand(Command):
    """``create``: flags end at the image's name. What they mean together is a matter of flags still."""

    allow_interspersed_args = False

    def exit_code(self, error: SandboxError) -> int:
        return error.exit_code if isinstance(error, FlagError) else super().exit_code(error)


class RunCommand(CreatingCommand):
    """``run``: 125 for what fails on our side, else what the container's own start gives."""

    def exit_code(self, error: SandboxError) -> int:
        return error.exit_code if error.exit_code > 1 or isinstance(error, NotATerminal) else _FAILED_TO_RUN


class Group(click.Group, Command):
    """A group of commands, listed in the order in which they were added; each is imported when it is needed."""

    command_class = Command

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._places: dict[str, str] = {}

    def add(self, commands: Mapping[str, str], aliases: Mapping[str, str] = {}) -> None:
        """Add commands by their names, each with its place: ``module:attribute`` in this package.

        *aliases* are further names that help does not list.
        """
        self._places |= {**commands, **{name: f"{place}:hidden" for name, place in aliases.items()}}

    def list_commands(self, ctx: click.Context | None = None) -> list[str]:
        return list({**self._places, **self.commands})

    def find(self, name: str) -> click.Command | None:
        """The command of this name, if there is one."""
        if name not in self.commands and name in self._places:
            self.commands[name] = _load(self._places[name])
        return self.commands.get(name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        found = self.find(cmd_name)
        if found is None:
            raise SandboxError(f"'{cmd_name}' is not a {ctx.command_path} command; see '{ctx.command_path} --help'")
        return found

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _quiet(super().get_help_option(ctx))


def _load(place: str) -> click.Command:
    module, attribute, *hidden = place.split(":")
    command: click.Command = getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
    if hidden:
        command = copy.copy(command)
        command.hidden = True
    return command


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"


def _quiet(help_option: click.Option | None) -> click.Option | None:
    """The help option, made to hand its text over rather than print it."""
    if help_option is not None:
        help_option.callback = _ask_help
    return help_option
