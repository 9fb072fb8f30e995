"""What commands are made of: their surroundings, and click's classes with Docker's manners."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import click

from kernel_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine

_FAILED_TO_RUN = 125


@dataclass(frozen=True)
class Context:
    """What commands need of their front end.

    ``open_engine`` is called when a command first needs the store; ``stdin`` is the descriptor that ``import -`` reads;
    ``environment`` is where ``-e NAME`` looks; ``program`` is what help and complaints call the front end.
    """

    open_engine: Callable[[], Engine]
    stdin: int = 0
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    program: str = "kernel-sandbox"

    @cached_property
    def engine(self) -> Engine:
        return self.open_engine()


class HelpAsked(Exception):
    """``--help``: the text is the outcome, whatever else was written."""


def _ask_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        raise HelpAsked(context.get_help())


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
