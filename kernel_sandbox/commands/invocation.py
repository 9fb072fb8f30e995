"""One command line, parsed and carried out: the road from words to a result, and from click's errors to ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import click

from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import SandboxError, UsageError

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine

PROGRAM = "kernel-sandbox"
_FAILED_TO_RUN = 125


@dataclass(frozen=True)
class Context:
    """What commands need of their front end.

    ``open_engine`` is called when a command first needs the store; ``stdin`` is the descriptor that ``import -`` reads;
    ``environment`` is where ``-e NAME`` looks.
    """

    open_engine: Callable[[], Engine]
    stdin: int = 0
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def engine(self) -> Engine:
        return self.open_engine()


def invoke(arguments: Sequence[str], context: Context) -> Result:
    """Carry out one command line, without the program's name. Raises SandboxError for every mistake of the user's."""
    from kernel_sandbox.commands.tree import root

    try:
        result = root.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=context)
    except _HelpAsked as asked:
        return Lines((str(asked),))
    except click.exceptions.NoArgsIsHelpError as error:
        return Lines((error.format_message(),))
    except click.ClickException as error:
        raise _usage_error(error) from None
    return result if isinstance(result, Result) else Lines()


class _HelpAsked(Exception):
    """``--help``: the text is the outcome, whatever else was written."""


def _ask_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        raise _HelpAsked(context.get_help())


def _usage_error(error: click.ClickException) -> SandboxError:
    """click's complaint in one line, in Docker's words where they differ, with the place to look.

    A wrong flag has exit code 125, a wrong number of arguments 1.
    """
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        message = f"unknown flag: {error.option_name}"
    elif isinstance(error, click.MissingParameter) and error.param:
        message = f'"{where}" requires an argument: {error.param.human_readable_name}'
    usage = UsageError(f"{message}; see '{where} --help'")
    is_flag = isinstance(error, (click.NoSuchOption, click.BadOptionUsage, click.BadParameter))
    usage.exit_code = 125 if is_flag and not isinstance(error, click.MissingParameter) else 1
    return usage


class Command(click.Command):
    """A command whose failures have exit code 1, as those that Docker's daemon reports."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SandboxError as error:
            error.exit_code = self.exit_code(error)
            raise

    def exit_code(self, error: SandboxError) -> int:
        """The program's exit code for an error of this command."""
        return 1

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _quiet(super().get_help_option(ctx))


class CreatingCommand(Command):
    """``create``: flags end at the image's name."""

    allow_interspersed_args = False


class RunCommand(CreatingCommand):
    """``run``: 125 for what fails on our side, else what the container's own start gives."""

    def exit_code(self, error: SandboxError) -> int:
        return error.exit_code if error.exit_code > 1 else _FAILED_TO_RUN


class Group(click.Group):
    """A group of commands, listed in the order in which they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise SandboxError(f"'{cmd_name}' is not a {ctx.command_path} command; see '{ctx.command_path} --help'")
        return found

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _quiet(super().get_help_option(ctx))


def _quiet(help_option: click.Option | None) -> click.Option | None:
    """The help option, made to hand its text over rather than print it."""
    if help_option is not None:
        help_option.callback = _ask_help
    return help_option
