"""``run`` and ``create``: flags to ``ContainerOptions``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from kernel_sandbox.commands.command import Context, CreatingCommand, RunCommand
from kernel_sandbox.commands.results import Foreground, Lines, Result
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec import options as values
from kernel_sandbox.spec import seccomp, units
from kernel_sandbox.spec.options import ContainerOptions

F = TypeVar("F", bound=Callable[..., object])
_MAX_PROFILE = 1 << 20


class _Text(click.ParamType):  # type: ignore[type-arg]
    """A flag's text, read by a function of ``spec``."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except UsageError as error:
            raise UsageError(f'invalid argument "{value}" for "{_flags(param)}" flag: {error}') from None


def _flags(param: click.Parameter | None) -> str:
    return ", ".join(param.opts) if param else ""


def _creation_options(command: F) -> F:
    """The flags that ``run`` and ``create`` share, in the order in which help shows them."""
    flags = (
        click.option("--name", default="", metavar="NAME", help="Give the container this name."),
        click.option("--rm", "remove", is_flag=True, help="Remove the container when it has ended."),
        click.option("-i", "--interactive", is_flag=True, help="Pass standard input on."),
        click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set an environment variable."),
        click.option("-w", "--workdir", default="", metavar="DIR", help="Start in this directory."),
        click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Run as this user, by name or id."),
        click.option("--entrypoint", default=None, metavar="COMMAND", help="Replace the image's entrypoint."),
        click.option("-h", "--hostname", default="", metavar="NAME", help="The host name inside."),
        click.option(
            "-l", "--label", "labels", multiple=True, type=_Text("label", values.parse_label),
            metavar="KEY[=VALUE]", help="Attach a label.",
        ),
        click.option(
            "-v", "--volume", "binds", multiple=True, type=_Text("bind", values.parse_bind),
            metavar="HOST:CONTAINER[:ro]", help="Show a directory or file of the host inside.",
        ),
        click.option(
            "-m", "--memory", type=_Text("bytes", units.parse_bytes), metavar="BYTES",
            help="Limit memory, as 512m or 1g.",
        ),
        click.option("--pids-limit", type=int, metavar="N", help="Limit the number of processes; -1 for none."),
        click.option(
            "--network", type=_Text("network", values.parse_network), default="none", metavar="none|host",
            help="No network but loopback (the default), or the host's.",
        ),
        click.option("--read-only", "readonly", is_flag=True, help="Make the root filesystem read-only."),
        click.option("--cap-add", multiple=True, metavar="CAP", help="Add a Linux capability."),
        click.option("--cap-drop", multiple=True, metavar="CAP", help="Drop a Linux capability."),
        click.option(
            "--security-opt", "security", multiple=True, metavar="OPTION",
            help="no-new-privileges, seccomp=unconfined or seccomp=FILE.",
        ),
        click.argument("image"),
        click.argument("command", nargs=-1, type=click.UNPROCESSED),
    )  # fmt: skip
    for flag in reversed(flags):
        command = flag(command)
    return command


@click.command(cls=RunCommand, context_settings={"help_option_names": ["--help"]})
@click.option("-d", "--detach", is_flag=True, help="Leave it running in the background and print its id.")
@_creation_options
@click.pass_obj
def run(context: Context, /, detach: bool, **flags: Any) -> Result:
    """Make a container from IMAGE and run COMMAND in it."""
    context.engine.warm_up()
    containers = context.engine.containers
    container = containers.create(_options(context, **flags))
    try:
        attachment = containers.start(container.id, foreground=not detach)
    except KeyboardInterrupt:
        if container.options.remove:
            with contextlib.suppress(SandboxError):
                containers.remove(container.id, force=True)
        raise
    if not detach:
        return Foreground(attachment, container.id, container.options.interactive)
    with attachment:
        return Lines((container.id,))


@click.command(cls=CreatingCommand, context_settings={"help_option_names": ["--help"]})
@_creation_options
@click.pass_obj
def create(context: Context, /, **flags: Any) -> Result:
    """Make a container from IMAGE without starting it."""
    return Lines((context.engine.containers.create(_options(context, **flags)).id,))


def _options(context: Context, **flags: Any) -> ContainerOptions:
    security = flags.pop("security")
    entrypoint = flags.pop("entrypoint")
    env = (values.parse_env(text, dict(context.environment)) for text in flags.pop("env"))
    pids_limit = flags.pop("pids_limit")
    limits = values.Limits(memory=flags.pop("memory"), pids=pids_limit if pids_limit and pids_limit > 0 else None)
    plain = ContainerOptions(
        **{**flags, "labels": dict(flags["labels"])},
        env=tuple(entry for entry in env if entry is not None),
        entrypoint=None if entrypoint is None else tuple(filter(None, (entrypoint,))),
        limits=limits,
    )
    for option in security:
        plain = _with_security(plain, option)
    return plain


def _with_security(plain: ContainerOptions, option: str) -> ContainerOptions:
    name, _, value = option.replace(":", "=", 1).partition("=")
    match name, value:
        case "no-new-privileges", "" | "true" | "false":
            return msgspec.structs.replace(plain, no_new_privileges=value != "false")
        case "seccomp", "unconfined":
            return msgspec.structs.replace(plain, seccomp_unconfined=True)
        case "seccomp", _ if value:
            return msgspec.structs.replace(plain, seccomp=_profile(value))
    raise UsageError(f'invalid --security-opt: "{option}"')


def _profile(path: str) -> seccomp.Profile:
    try:
        with open(path, "rb") as file:
            return seccomp.parse_profile(file.read(_MAX_PROFILE))
    except OSError as error:
        raise UsageError(f"opening seccomp profile ({path}) failed: {error.strerror}") from error
