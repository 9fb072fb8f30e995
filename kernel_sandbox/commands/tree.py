"""The tree of commands, in Docker's two spellings: ``ps`` and ``container ls``, ``rmi`` and ``image rm``."""

from __future__ import annotations

import copy

import click

from kernel_sandbox.commands import (
    containers,
    control,
    copying,
    disk,
    events,
    images,
    inspection,
    listing,
    logs,
    processes,
    pruning,
    run,
    shells,
    statistics,
    system,
    update,
    volumes,
)
from kernel_sandbox.commands.command import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def root() -> None:
    """Real Linux containers without Docker, daemon or root.

    The words are Docker's. KERNEL_SANDBOX_HOME names the directory in which images and containers are kept.
    """


@click.group(cls=Group)
def container() -> None:
    """Manage containers."""


@click.group(cls=Group)
def image() -> None:
    """Manage images."""


@click.group("system", cls=Group)
def system_() -> None:
    """Manage the store."""


def hidden(command: click.Command) -> click.Command:
    """The command under one more name, which help does not list."""
    other = copy.copy(command)
    other.hidden = True
    return other


for _command in (
    run.run, run.create, control.start, control.stop, control.restart, control.kill, control.pause, control.unpause,
    control.wait, control.attach, control.execute, listing.ps, copying.diff, copying.cp,
    logs.logs, processes.top, statistics.stats, containers.commit, containers.export, containers.rm, containers.port,
    containers.rename,
    update.update,
):  # fmt: skip
    root.add_command(_command)
    container.add_command(_command, "ls" if _command is listing.ps else None)
for _command, _name in (
    (images.images, "ls"), (images.import_, None), (images.tag, None), (images.rmi, "rm"), (images.bootstrap, None),
):  # fmt: skip
    root.add_command(_command)
    image.add_command(_command, _name)
for _alias in ("ps", "list"):
    container.add_command(hidden(listing.ps), _alias)
root.add_command(inspection.inspect)
container.add_command(inspection.inspect_container)
image.add_command(inspection.inspect_image)
container.add_command(pruning.prune_containers)
for _command in (disk.df, events.events, system.info, pruning.prune_system):
    system_.add_command(_command)
for _command in (events.events, system.info, system.version):
    root.add_command(_command)
root.add_command(shells.completion)
root.add_command(shells.complete)
root.add_command(container)
root.add_command(image)
root.add_command(system_)
root.add_command(volumes.volume)
for _other, _name in ((volumes.ls, "list"), (volumes.rm, "remove")):
    volumes.volume.add_command(hidden(_other), _name)
