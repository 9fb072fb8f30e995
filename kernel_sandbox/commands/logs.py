"""``logs``: what a container has written."""

from __future__ import annotations

import time

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Logs, Result
from kernel_sandbox.engine.logs import Selection
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.times import parse_time
from kernel_sandbox.spec.units import is_number


@syntax.command(Command)
@syntax.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@syntax.option("-n", "--tail", default="all", metavar="N", show_default=True, help="Show only the last N lines.")
@syntax.option("--since", default="", metavar="TIME", help="Show from there on: a date, unix seconds, or 10m ago.")
@syntax.option("--until", default="", metavar="TIME", help="Show what was before.")
@syntax.option("-t", "--timestamps", is_flag=True, help="Put its time before each line.")
@syntax.option("--details", is_flag=True, help="Put what the log options add before each line.")
@syntax.argument("container")
def logs(
    context: Context, follow: bool, tail: str, since: str, until: str, timestamps: bool, details: bool, container: str
) -> Result:
    """Show what a container has written."""
    found = context.engine.containers.find(container)
    wanted = Selection(
        follow=follow,
        tail=int(tail[:18]) if is_number(tail) else None,
        since=_time("since", since),
        until=_time("until", until),
        timestamps=timestamps,
        details=details,
    )
    return Logs(context.engine.containers.logs(found.id, wanted))


def _time(flag: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return parse_time(text, time.time_ns(), time.localtime().tm_gmtoff)
    except UsageError as error:
        raise SandboxError(f'invalid value for "{flag}": {error}') from None
