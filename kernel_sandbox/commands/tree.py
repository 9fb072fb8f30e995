"""The tree of commands, in Docker's two spellings: ``ps`` and ``container ls``, ``rmi`` and ``image rm``."""

from __future__ import annotations

import click

from kernel_sandbox.commands import containers, images, run
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


for _command in (
    run.run, run.create, containers.start, containers.stop, containers.kill, containers.wait, containers.ps,
    containers.logs, containers.commit, containers.export, containers.rm,
):  # fmt: skip
    root.add_command(_command)
    container.add_command(_command, "ls" if _command is containers.ps else None)
for _command, _name in (
    (images.images, "ls"), (images.import_, None), (images.tag, None), (images.rmi, "rm"), (images.bootstrap, None),
):  # fmt: skip
    root.add_command(_command)
    image.add_command(_command, _name)
root.add_command(images.inspect)
container.add_command(containers.inspect_container, "inspect")
image.add_command(images.inspect_image, "inspect")
root.add_command(container)
root.add_command(image)
