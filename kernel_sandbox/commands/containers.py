"""Commands about containers that exist."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import formatted, rendered
from kernel_sandbox.commands.results import Document, Download, Foreground, Lines, Logs, Result, Table
from kernel_sandbox.engine.download import downloaded
from kernel_sandbox.engine.inspect import container_document, to_json
from kernel_sandbox.errors import NotFound, SandboxError, UsageError
from kernel_sandbox.spec import units
from kernel_sandbox.spec.options import parse_signal
from kernel_sandbox.storage.state import Container, Status

F = TypeVar("F", bound=Callable[..., object])
_SHORT_ID = 12
_SHORT_COMMAND = 20
_STOP_SECONDS = 10


_FIELDS = {
    "id": "ID", "image": "Image", "command": "Command", "created": "RunningFor", "status": "Status", "ports": "Ports",
    "names": "Names", "state": "State", "created_at": "CreatedAt", "labels": "Labels", "networks": "Networks",
}  # fmt: skip
_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
    "Ports": "PORTS", "Names": "NAMES", "State": "STATE", "CreatedAt": "CREATED AT", "Labels": "LABELS",
    "Networks": "NETWORKS",
}  # fmt: skip


class ContainerRow(msgspec.Struct, frozen=True, rename=_FIELDS):
    """A row of ``ps``, in full; to templates its fields have Docker's names."""

    id: str
    image: str
    command: str
    created: str
    status: str
    ports: str
    names: str
    state: str
    created_at: str
    labels: str
    networks: str


def each(names: tuple[str, ...], act: Callable[[str], object]) -> Result:
    """Do something to each of several objects, going on after a failure; those done are listed."""
    done, errors = [], []
    for name in names:
        try:
            act(name)
            done.append(name)
        except SandboxError as error:
            errors.append(error)
    return Lines(tuple(done), errors=tuple(errors))


@click.command(cls=Command)
@click.option("-a", "--all", "all_", is_flag=True, help="Show those that have ended, too.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.option("--no-trunc", is_flag=True, help="Cut nothing short.")
@click.option(
    "--format", "template", metavar="TEMPLATE", help="Show this of each: a Go template, after `table` or not."
)
@click.pass_obj
def ps(context: Context, all_: bool, quiet: bool, no_trunc: bool, template: str | None) -> Result:
    """List containers."""
    containers = context.engine.containers.list(all_)
    if quiet:
        return Lines(tuple(found.id if no_trunc else found.id[:_SHORT_ID] for found in containers))
    items = tuple(_row(context, container) for container in containers)
    shown = items if no_trunc else tuple(map(_shortened, items))
    shown = tuple(msgspec.structs.replace(row, command=_quoted(row.command)) for row in shown)
    if template:
        return formatted(template, shown, _HEADERS)
    cells = tuple((r.id, r.image, r.command, r.created, r.status, r.ports, r.names) for r in shown)
    return Table(tuple(_HEADERS.values())[: len(_HEADERS) - 4], cells, items)


def _row(context: Context, container: Container) -> ContainerRow:
    now = time.time_ns()
    return ContainerRow(
        id=container.id,
        image=container.options.image,
        command=_joined(context.engine.containers.command(container)),
        created=f"{_age(now - container.created)} ago",
        status=_status(container, now),
        ports="",
        names=container.name,
        state=container.status.value,
        created_at=time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(container.created // 10**9)),
        labels=",".join(f"{key}={value}" for key, value in container.options.labels.items()),
        networks=container.options.network.value,
    )


def _joined(command: tuple[str, ...]) -> str:
    """The command line as Docker tells it: arguments with spaces in single quotes."""
    return " ".join((command[0], *(f"'{argument}'" if " " in argument else argument for argument in command[1:])))


def _shortened(row: ContainerRow) -> ContainerRow:
    command = row.command
    if len(command) > _SHORT_COMMAND:
        command = command[: _SHORT_COMMAND - 1] + "…"
    return msgspec.structs.replace(row, id=row.id[:_SHORT_ID], command=command)


def _quoted(command: str) -> str:
    return '"' + command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _age(nanoseconds: int) -> str:
    return units.human_duration(nanoseconds / 1e9)


def _status(container: Container, now: int) -> str:
    match container.status:
        case Status.RUNNING:
            return f"Up {_age(now - container.started)}"
        case Status.EXITED:
            return f"Exited ({container.exit_code}) {_age(now - container.finished)} ago"
        case _:
            return "Created"


@click.command(cls=Command)
@click.option("-a", "--attach", is_flag=True, help="Show its output, and end with it.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def start(context: Context, attach: bool, interactive: bool, containers: tuple[str, ...]) -> Result:
    """Start containers that do not run."""
    if attach or interactive:
        if len(containers) > 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        attachment = context.engine.containers.start(containers[0], foreground=True)
        return Foreground(attachment, containers[0], interactive)

    def start_one(name: str) -> None:
        if not context.engine.containers.find(name).is_active:
            context.engine.containers.start(name).__exit__()

    return each(containers, start_one)


@click.command(cls=Command)
@click.option("-t", "--time", "seconds", type=int, default=_STOP_SECONDS, show_default=True, help="Seconds to wait.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def stop(context: Context, seconds: int, containers: tuple[str, ...]) -> Result:
    """End containers: their stop signal first, SIGKILL after a while."""
    return each(containers, lambda name: context.engine.containers.stop(name, seconds))


@click.command(cls=Command)
@click.option("-s", "--signal", "name", default="KILL", show_default=True, help="The signal, by name or number.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def kill(context: Context, name: str, containers: tuple[str, ...]) -> Result:
    """Send a signal to the first process of containers."""
    number = parse_signal(name)
    return each(containers, lambda container: context.engine.containers.kill(container, number))


@click.command(cls=Command)
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def wait(context: Context, containers: tuple[str, ...]) -> Result:
    """Wait until containers have ended and print their exit codes."""
    return Lines(tuple(str(context.engine.containers.wait(name)) for name in containers))


@click.command(cls=Command)
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def rm(context: Context, force: bool, containers: tuple[str, ...]) -> Result:
    """Remove containers and what they have written."""
    result = each(containers, lambda name: context.engine.containers.remove(name, force))
    if force:
        return msgspec.structs.replace(result, errors=tuple(map(_as_warning, result.errors)))
    return result


def _as_warning(error: SandboxError) -> SandboxError:
    """With force, what is not there is as good as removed."""
    if isinstance(error, NotFound):
        error.exit_code = 0
    return error


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.argument("container")
@click.pass_obj
def logs(context: Context, follow: bool, container: str) -> Result:
    """Show what a container has written."""
    context.engine.containers.find(container)
    return Logs(context.engine.containers.logs(container, follow))


@click.command(cls=Command)
@click.option("-m", "--message", default="", help="A note for the image's history.")
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help='As "CMD [...]" or "ENV A=1".')
@click.argument("container")
@click.argument("reference", required=False)
@click.pass_obj
def commit(
    context: Context, message: str, author: str, changes: tuple[str, ...], container: str, reference: str | None
) -> Result:
    """Make an image of what a container has changed."""
    image = context.engine.containers.commit(container, reference, message, author, changes)
    return Lines((image.id,))


@click.command(cls=Command)
@click.option("-o", "--output", metavar="FILE", help="Write to a file rather than to standard output.")
@click.argument("container")
@click.pass_obj
def export(context: Context, output: str | None, container: str) -> Result:
    """Write a container's root filesystem as a tar archive."""
    found = context.engine.containers.find(container)

    def write(target: int) -> None:
        if os.isatty(target):
            raise SandboxError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        context.engine.containers.export(found.id, target)

    if output is None:
        return Download(write)
    with downloaded(output) as target:
        write(target)
    return Lines()


def inspected(names: tuple[str, ...], look: Callable[[str], object], template: str | None) -> Result:
    """``inspect``: an array of the objects that exist, or a template's lines, and an error for each of the others."""
    documents, errors = [], []
    for name in names:
        try:
            documents.append(look(name))
        except SandboxError as error:
            errors.append(error)
    if template:
        return msgspec.structs.replace(rendered(template, documents), errors=tuple(errors))
    return Document(to_json(documents), errors=tuple(errors))


def format_option(command: F) -> F:
    """``-f``, as every ``inspect`` has it."""
    return click.option("-f", "--format", "template", metavar="TEMPLATE", help="Show this of each: a Go template.")(
        command
    )


@click.command(cls=Command)
@format_option
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def inspect_container(context: Context, template: str | None, containers: tuple[str, ...]) -> Result:
    """Show all about containers, as JSON."""
    return inspected(containers, lambda name: container_document(context.engine, name), template)
