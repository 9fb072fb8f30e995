"""What a container runs: an image's entrypoint and command under the user's own. Not here: how it comes to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_sandbox.errors import UsageError

if TYPE_CHECKING:
    from kernel_sandbox.spec.image import ContainerConfig
    from kernel_sandbox.spec.options import ContainerOptions


def command_line(options: ContainerOptions, image: ContainerConfig) -> tuple[str, ...]:
    """Entrypoint and command as Docker joins them: a new entrypoint drops the image's command. Raises UsageError."""
    kept = options.entrypoint is None
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    joined = (*entrypoint, *(options.command or (image.cmd if kept else ())))
    if not joined:
        raise UsageError("No command specified: name one after the image")
    return joined
