"""One command line, parsed and carried out: the road from words to a result, and from click's errors to ours."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kernel_sandbox.commands.command import Context, HelpAsked
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
    """click's complaint in one line, in Docker's words where they differ, with the place to look.

    A wrong flag has exit code 125, a wrong number of arguments 1.
    """
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else program
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        message = f"unknown flag: {error.option_name}"
    elif isinstance(error, click.MissingParameter) and error.param:
        message = f'"{where}" requires an argument: {error.param.human_readable_name}'
    usage = UsageError(f"{message}; see '{where} --help'")
    is_flag = isinstance(error, (click.NoSuchOption, click.BadOptionUsage, click.BadParameter))
    usage.exit_code = 125 if is_flag and not isinstance(error, click.MissingParameter) else 1
    return usage
