"""``exec``: what a user asks of one more process in a running container, and the runtime ``Process`` that this is."""

from __future__ import annotations

import msgspec

from kernel_sandbox.spec import capabilities, runtime
from kernel_sandbox.spec.environment import merged_env
from kernel_sandbox.spec.user import Identity

_TERMINAL_TYPE = "TERM=xterm"


class ExecOptions(msgspec.Struct, frozen=True):
    """The values behind ``exec``'s flags; empty is what the container itself has."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    interactive: bool = False
    tty: bool = False
    detach: bool = False
    privileged: bool = False
    detach_keys: str = ""


def process(container: runtime.Process, options: ExecOptions, identity: Identity | None) -> runtime.Process:
    """A process like the container's first, with what *options* say; *identity* is of the user that they name."""
    user = container.user
    inherited = (_TERMINAL_TYPE, *container.env) if options.tty else container.env
    if identity:
        user = runtime.User(identity.uid, identity.gid, identity.additional_gids)
        inherited = merged_env(inherited, (f"HOME={identity.home}",))
    return msgspec.structs.replace(
        container,
        args=options.command,
        env=merged_env(inherited, options.env),
        cwd=options.workdir or container.cwd,
        user=user,
        terminal=options.tty,
        console_size=None,
        capabilities=_capabilities(container, options, user.uid),
    )


def _capabilities(container: runtime.Process, options: ExecOptions, uid: int) -> runtime.Capabilities:
    granted = capabilities.ALL if options.privileged else container.capabilities.bounding
    held = tuple(granted) if uid == 0 else ()
    return runtime.Capabilities(bounding=tuple(granted), effective=held, permitted=held)
