"""One command line, parsed and carried out: the road from words to a result, and from click's errors to ours."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kernel_sandbox.commands.command import Command, Context, HelpAsked
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.commands.tree import root
from kernel_sandbox.errors import SandboxError, UsageError


def invoke(arguments: Sequence[str], context: Context) -> Result:
    """Carry out one command line, without the program's name. Raises SandboxError for every mistake of the user's."""
    try:
        result = root.main(list(arguments), prog_name=context.program, standalone_mode=False, obj=context)
    except HelpAsked as asked:
        return Lines((str(asked),))
    except click.exceptions.NoArgsIsHelpError as error:
        return Lines((error.format_message(),))
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except UnicodeEncodeError as error:
        raise UsageError("an argument is not valid UTF-8") from error
    except click.ClickException as error:
        raise _usage_error(error, context.program) from None
    return result if isinstance(result, Result) else Lines()


def _usage_error(error: click.ClickException, program: str) -> SandboxError:
    """click's complaint in Docker's words, with the place to look: a wrong value of a flag, or a number of words.

    A wrong flag has exit code 125, a wrong number of arguments 1.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path if context else program
    see = f"; see '{where} --help'"
    is_flag = isinstance(error, click.BadParameter) and isinstance(error.param, click.Option)
    if is_flag or context is None or not isinstance(context.command, Command):
        return UsageError(error.format_message().rstrip(".") + see)
    return SandboxError(f'"{where}" {context.command.arity}{see}')
