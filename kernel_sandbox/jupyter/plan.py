"""A kernel as a container: what is asked of it, and the options that this comes to. Nothing is made here.

Below the container's /dev, which is fresh at each start, the kernel sees a directory of the host's: its connection
file and its init, read-only, and the directory of its sockets. A mount point elsewhere would be left behind in an
image committed from the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from kernel_sandbox.errors import HostError, UsageError
from kernel_sandbox.spec import flags, sharing
from kernel_sandbox.spec.mount_flags import parse_volume
from kernel_sandbox.spec.options import Bind, ContainerOptions, Limits
from kernel_sandbox.spec.units import parse_bytes

CONNECTION_FILE = "connection.json"
INIT = "init.py"
SOCKETS = "sockets"
_INSIDE = "/dev/jupyter"
_SOCKET = "c"
_LONGEST_SOCKET_PATH = 107


class Connection(msgspec.Struct, frozen=True):
    """A kernel's connection file (jupyter_client's documentation, "Connection files")."""

    ip: str
    key: str
    transport: str
    signature_scheme: str
    shell_port: int
    iopub_port: int
    stdin_port: int
    control_port: int
    hb_port: int
    kernel_name: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        """The five ports; over Unix sockets they are endings of the sockets' names."""
        return (self.shell_port, self.iopub_port, self.stdin_port, self.control_port, self.hb_port)

    def inside(self) -> Connection:
        """The same kernel's connection, as the container sees it."""
        return msgspec.structs.replace(self, transport="ipc", ip=f"{_INSIDE}/{SOCKETS}/{_SOCKET}")


@dataclass(frozen=True)
class KernelSettings:
    """What can be asked of a kernel, in the words of ``docker run``'s flags; empty is Docker's default.

    ``mounts`` are ``host:container[:ro]``, the host's path absolute, relative to the notebook's directory, or with
    ``~``. ``env`` are ``NAME=value``, or ``NAME`` to pass that one variable on.
    """

    image: str
    memory: str = ""
    pids_limit: int | None = None
    network: str = "none"
    mounts: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


def socket_prefix(directory: str) -> str:
    """What the kernel's socket names start with, seen from the host.

    Raises HostError where *directory* is too long for Unix sockets (unix(7)).
    """
    prefix = os.path.join(directory, SOCKETS, _SOCKET)
    if len(os.fsencode(prefix)) + len("-65535") > _LONGEST_SOCKET_PATH:
        raise HostError(f"{directory} is too long a path for sockets: set XDG_RUNTIME_DIR to a shorter one")
    return prefix


def container_options(
    settings: KernelSettings,
    name: str,
    directory: str,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    cwd: str,
) -> ContainerOptions:
    """The container of a kernel. *environment* is the caller's: only what the settings name is taken from it.

    *arguments* go to ipykernel. *cwd* is the notebook's directory on the host, the kernel's too where it is mounted.
    Raises UsageError for a setting that is written wrongly.
    """
    mounts = tuple(_bind(_absolute(mount, cwd)) for mount in settings.mounts)
    env = (flags.parse_env(each, dict(environment)) for each in settings.env)
    # ipykernel takes a parent of any other number for one that may go away, and ends when it does not find it.
    parent = "JPY_PARENT_PID=1"
    launcher = ("python3", "-m", "ipykernel_launcher", "-f", f"{_INSIDE}/{CONNECTION_FILE}")
    return ContainerOptions(
        image=settings.image,
        command=("python3", "-I", "-S", f"{_INSIDE}/{INIT}", *launcher, *arguments),
        entrypoint=(),
        name=name,
        user="0:0",
        env=(parent, *(each for each in env if each is not None)),
        workdir=_seen_inside(cwd, mounts),
        limits=Limits(
            memory=parse_bytes(settings.memory) if settings.memory else None,
            pids=settings.pids_limit,
        ),
        network=sharing.parse_network(settings.network)[0],
        binds=(
            Bind(directory, _INSIDE, readonly=True),
            Bind(os.path.join(directory, SOCKETS), f"{_INSIDE}/{SOCKETS}"),
            *mounts,
        ),
    )


def _bind(text: str) -> Bind:
    """A setting that names a host directory as ``-v`` does; one that is missing is an error, not made."""
    mount = parse_volume(text)
    if not isinstance(mount, Bind):
        raise UsageError(f"the mount '{text}' is no directory of the host's: write /host/path:/container/path[:ro]")
    return msgspec.structs.replace(mount, as_mount=True)


def _absolute(mount: str, cwd: str) -> str:
    source, colon, rest = mount.partition(":")
    return os.path.normpath(os.path.join(cwd, os.path.expanduser(source))) + colon + rest


def _seen_inside(cwd: str, mounts: tuple[Bind, ...]) -> str:
    """Where the container sees the host's directory *cwd*; empty, for the image's own choice, where it does not."""
    for mount in mounts:
        if cwd == mount.source or cwd.startswith(mount.source.rstrip("/") + "/"):
            return os.path.normpath(os.path.join(mount.target, os.path.relpath(cwd, mount.source)))
    return ""
