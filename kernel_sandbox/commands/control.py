"""Commands that make containers run, stop and do more: ``start`` to ``wait``, ``attach`` and ``exec``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context, CreatingCommand
from kernel_sandbox.commands.containers import each
from kernel_sandbox.commands.creation import variables
from kernel_sandbox.commands.creation_flags import Text, named_variable
from kernel_sandbox.commands.flags import KEYS
from kernel_sandbox.commands.results import Foreground, Lines, Result
from kernel_sandbox.errors import ContainerStartError, SandboxError, UsageError
from kernel_sandbox.spec.execution import ExecOptions
from kernel_sandbox.spec.flags import parse_signal

F = TypeVar("F", bound=Callable[..., object])
_NOT_INVOKED = 126
_VARIABLE = Text("variable", named_variable)


def _several(command: F) -> F:
    return syntax.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")(command)


def _stopping(command: F) -> F:
    """``-t`` of stop and restart."""
    return syntax.option(
        "-t", "--timeout", "--time", "seconds", type=int, metavar="SECONDS",
        help="Wait so long before SIGKILL; -1 for ever.",
    )(command)  # fmt: skip


def _attaching(command: F) -> F:
    """What every command that attaches a terminal takes."""
    for flag in (
        syntax.option("--detach-keys", type=KEYS, default="", metavar="KEYS", help="Keys to leave it. [ctrl-p,ctrl-q]"),
        syntax.option("--sig-proxy", type=bool, default=True, metavar="BOOL", help="Pass signals on to the process."),
    ):
        command = flag(command)
    return command


@syntax.command(Command)
@syntax.option("-a", "--attach", is_flag=True, help="Show its output, and end with it.")
@syntax.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@_attaching
@_several
def start(
    context: Context,
    attach: bool,
    interactive: bool,
    detach_keys: str,
    sig_proxy: bool,
    containers: tuple[str, ...],
) -> Result:
    """Start containers that do not run."""
    context.engine.warm_up()
    engine = context.engine.containers
    if attach or interactive:
        if len(containers) > 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        container = engine.find(containers[0])
        if container.is_active:
            return _attached(context, container.id, interactive, detach_keys, sig_proxy)
        attachment = engine.start(container.id, foreground=True, console=context.console)
        options = container.options
        keys = detach_keys or options.detach_keys
        proxies = sig_proxy and not options.tty
        return Foreground(attachment, interactive and options.interactive, options.tty, keys, proxies)

    def start_one(name: str) -> None:
        container = engine.find(name)
        if not container.is_active or container.status == "paused":
            engine.start(container.id).close()

    return each(containers, start_one)


@syntax.command(Command)
@syntax.option("--no-stdin", is_flag=True, help="Do not pass standard input on.")
@_attaching
@syntax.argument("container")
def attach(context: Context, no_stdin: bool, detach_keys: str, sig_proxy: bool, container: str) -> Result:
    """Show what a running container writes from now on, and pass input on."""
    context.check_terminal(not no_stdin, context.engine.containers.find(container).options.tty)
    attached = _attached(context, container, not no_stdin, detach_keys, sig_proxy)
    return msgspec.structs.replace(attached, is_left_with_error=True)


def _attached(context: Context, name: str, interactive: bool, detach_keys: str, sig_proxy: bool) -> Foreground:
    engine = context.engine.containers
    options = engine.find(name).options
    attachment = engine.attach(name)
    attachment.follow()
    if options.tty and context.console:
        attachment.resize(context.console.height, context.console.width)
    keys = detach_keys or options.detach_keys
    proxies = sig_proxy and not options.tty
    return Foreground(attachment, interactive and options.interactive, options.tty, keys, proxies)


class ExecCommand(CreatingCommand):
    """``exec``: flags end at the container's name; what cannot be invoked ends with 126."""

    def exit_code(self, error: SandboxError) -> int:
        return _NOT_INVOKED if isinstance(error, ContainerStartError) else 1


@syntax.command(ExecCommand, "exec", help_names=("--help",))
@syntax.option("-d", "--detach", is_flag=True, help="Leave it running in the background.")
@syntax.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@syntax.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@syntax.option(
    "-e", "--env", multiple=True, type=_VARIABLE, metavar="NAME[=VALUE]", help="Set an environment variable."
)
@syntax.option("--env-file", "env_files", multiple=True, metavar="FILE", help="Set the variables that a file lists.")
@syntax.option("-w", "--workdir", default="", metavar="DIR", help="Start in this directory.")
@syntax.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Run as this user, by name or id.")
@syntax.option("--privileged", is_flag=True, help="Give it every capability inside.")
@syntax.option("--detach-keys", type=KEYS, default="", metavar="KEYS", help="Keys to leave it. [ctrl-p,ctrl-q]")
@syntax.argument("container")
@syntax.argument("command", nargs=-1, required=True, type=syntax.UNPROCESSED)
def execute(
    context: Context, /, container: str, env: tuple[str, ...], env_files: tuple[str, ...], **flags: Any
) -> Result:
    """Run COMMAND in a running container."""
    wanted = ExecOptions(env=variables(context, env_files, env), **flags)
    if wanted.detach:
        _execute_detached(context, container, wanted)
        return Lines()
    context.check_terminal(wanted.interactive, wanted.tty)
    attachment = context.engine.containers.execute(container, wanted, context.console if wanted.tty else None)
    return Foreground(
        attachment,
        wanted.interactive,
        wanted.tty,
        wanted.detach_keys,
        proxies_signals=False,
        is_left_with_error=True,
    )


def _execute_detached(context: Context, container: str, wanted: ExecOptions) -> None:
    try:
        context.engine.containers.execute(container, wanted).close()
    except ContainerStartError as error:
        raise SandboxError(str(error)) from error


@syntax.command(Command)
@_stopping
@_several
def stop(context: Context, seconds: int | None, containers: tuple[str, ...]) -> Result:
    """End containers: their stop signal first, SIGKILL after a while."""
    return each(containers, lambda name: context.engine.containers.stop(name, seconds))


@syntax.command(Command)
@_stopping
@_several
def restart(context: Context, seconds: int | None, containers: tuple[str, ...]) -> Result:
    """End containers as stop does, and start them again."""
    return each(containers, lambda name: context.engine.containers.restart(name, seconds))


@syntax.command(Command)
@syntax.option("-s", "--signal", "name", default="KILL", help="The signal, by name or number.  [default: KILL]")
@_several
def kill(context: Context, name: str, containers: tuple[str, ...]) -> Result:
    """Send a signal to the first process of containers."""
    number = parse_signal(name or "KILL")
    return each(containers, lambda container: context.engine.containers.kill(container, number))


@syntax.command(Command)
@_several
def pause(context: Context, containers: tuple[str, ...]) -> Result:
    """Stop all processes of containers where they are."""
    return each(containers, context.engine.containers.pause)


@syntax.command(Command)
@_several
def unpause(context: Context, containers: tuple[str, ...]) -> Result:
    """Let paused containers go on."""
    return each(containers, context.engine.containers.unpause)


@syntax.command(Command)
@_several
def wait(context: Context, containers: tuple[str, ...]) -> Result:
    """Wait until containers have ended and print their exit codes."""
    codes: list[str] = []
    result = each(containers, lambda name: codes.append(str(context.engine.containers.wait(name))))
    return Lines(tuple(codes), errors=result.errors)
