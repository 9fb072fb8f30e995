"""``update``: other limits and another restart policy for containers that exist."""

from __future__ import annotations

from typing import Any

from kernel_sandbox.commands import creation, creation_flags, syntax
from kernel_sandbox.commands.command import Command, Context, Invocation
from kernel_sandbox.commands.containers import each
from kernel_sandbox.commands.results import Result
from kernel_sandbox.errors import Conflict, UsageError
from kernel_sandbox.spec import flags as texts
from kernel_sandbox.spec.limits import updated
from kernel_sandbox.spec.options import Limits, RestartPolicy

_PARAMETERS: list[syntax.Parameter] = [
    *creation_flags.limits(),
    creation_flags.restart(),
    syntax.Argument(("containers",), nargs=-1, required=True, metavar="CONTAINER..."),
]


@syntax.command(Command, params=_PARAMETERS)
@syntax.pass_invocation
def update(
    invocation: Invocation, /, containers: tuple[str, ...], restart: RestartPolicy | None, **flags: Any
) -> Result:
    """Change the limits and the restart policy of containers, running or not."""
    from kernel_sandbox.engine.limits import check

    if not invocation.given:
        raise UsageError("you must provide one or more flags when using this command")
    wanted = creation.limits(flags)
    check(wanted)
    if restart is not None:
        texts.check_restart(restart)
    return each(containers, lambda name: _update(invocation.context, name, wanted, restart))


def _update(context: Context, name: str, wanted: Limits, restart: RestartPolicy | None) -> None:
    container = context.engine.containers.find(name)
    try:
        limits = updated(container.options.limits, wanted)
        context.engine.containers.update(container.id, limits, restart)
    except (Conflict, UsageError) as error:
        raise Conflict(f"Cannot update container {container.id}: {error}") from error
