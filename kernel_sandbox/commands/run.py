"""``run`` and ``create``: make a container, and start it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kernel_sandbox.commands import creation, creation_flags, syntax
from kernel_sandbox.commands.command import Context, CreatingCommand, RunCommand
from kernel_sandbox.commands.flags import KEYS
from kernel_sandbox.commands.results import Foreground, Lines, Result
from kernel_sandbox.commands.transfers import provide
from kernel_sandbox.errors import SandboxError, UsageError

if TYPE_CHECKING:
    from kernel_sandbox.storage.state import Container

_CREATION = (
    *creation_flags.options(),
    syntax.Argument(("image",)),
    syntax.Argument(("command",), nargs=-1, type=syntax.UNPROCESSED),
)
_RUN = (
    syntax.Option(("-d", "--detach"), is_flag=True, help="Leave it running in the background and print its id."),
    syntax.Option(("--detach-keys",), type=KEYS, default="", metavar="KEYS", help="Keys to leave it. [ctrl-p,ctrl-q]"),
    syntax.Option(("--sig-proxy",), type=bool, default=True, metavar="BOOL", help="Pass signals on. [true]"),
)


@syntax.command(RunCommand, params=(*_RUN, *_CREATION))
def run(context: Context, /, detach: bool, detach_keys: str, sig_proxy: bool, **flags: Any) -> Result:
    """Make a container from IMAGE and run COMMAND in it."""
    if detach and flags["attach"]:
        raise UsageError("conflicting options: cannot specify both --attach and --detach")
    takes_input = "stdin" in flags["attach"] if flags["attach"] else flags["interactive"]
    if not detach:
        context.check_terminal(takes_input, flags["tty"])
    context.engine.warm_up()
    container = _created(context, detach_keys=detach_keys, detached=detach, **flags)
    containers = context.engine.containers
    try:
        attachment = containers.start(container.id, foreground=not detach, console=context.console)
    except KeyboardInterrupt:
        if container.options.remove:
            with contextlib.suppress(SandboxError):
                containers.remove(container.id, force=True)
        raise
    if not detach:
        options = container.options
        streams = tuple(each for each in options.attach if each != "stdin")
        return Foreground(attachment, options.interactive and takes_input, options.tty, detach_keys, sig_proxy, streams)
    with attachment:
        return _named(container)


@syntax.command(CreatingCommand, params=_CREATION)
def create(context: Context, /, **flags: Any) -> Result:
    """Make a container from IMAGE without starting it."""
    return _named(_created(context, **flags))


def _named(container: Container) -> Lines:
    """The id, with a warning for each limit that this machine does not know."""
    from kernel_sandbox.engine.limits import warnings

    told = tuple(SandboxError(f"WARNING: {each}") for each in warnings(container.options.limits))
    for warning in told:
        warning.exit_code = 0
    return Lines((container.id,), errors=told)


def _created(context: Context, /, cidfile: str, pull: str, quiet: bool, **flags: Any) -> Container:
    creation.check_pull(pull)
    wanted = creation.wanted(context, **flags)
    with creation.id_file(cidfile) as write:
        provide(context, wanted, pull, quiet)
        container = context.engine.containers.create(wanted)
        write(container.id)
    return container
