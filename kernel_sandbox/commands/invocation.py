"""One command line, parsed and carried out: the road from words to a result."""

from __future__ import annotations

from collections.abc import Sequence

from kernel_sandbox.commands.command import Context, HelpAsked, Invocation
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.commands.tree import root
from kernel_sandbox.errors import UsageError


def invoke(arguments: Sequence[str], context: Context) -> Result:
    """Carry out one command line, without the program's name. Raises SandboxError for every mistake of the user's."""
    try:
        result = root.carry_out(Invocation(context, (context.program,)), arguments)
    except HelpAsked as asked:
        return Lines((str(asked),))
    except UnicodeEncodeError as error:
        raise UsageError("an argument is not valid UTF-8") from error
    return result if isinstance(result, Result) else Lines()
