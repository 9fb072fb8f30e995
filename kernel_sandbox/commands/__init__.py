"""Docker's command tree, once, for every front end: words in, result values out. Nothing here prints or decides."""

from kernel_sandbox.commands.command import Context
from kernel_sandbox.commands.invocation import invoke

__all__ = ["Context", "invoke"]
