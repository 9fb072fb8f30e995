"""The kernel provisioner: jupyter_client's way to a kernel, leading into a container.

Follows jupyter_client's documentation, "Customizing the kernel's runtime environment". The traits are what a
kernelspec's ``metadata.kernel_provisioner.config`` or the server's configuration may set. Connections are Unix
sockets in a directory that is mounted into the container, so that a kernel needs no network.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from tornado.web import HTTPError
from traitlets import Enum, Int, List, Unicode

from kernel_sandbox.bootstrap.plan import python_reference
from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.jupyter.container import KernelContainer, ensure_image
from kernel_sandbox.jupyter.plan import Connection, KernelSettings
from kernel_sandbox.jupyter.process import KernelProcess
from kernel_sandbox.runtime.frames import Ending


class KernelStartError(SandboxError, HTTPError):
    """A kernel did not start. Jupyter's server shows an HTTPError's message in the notebook, and hides others'."""

    def __init__(self, message: str) -> None:
        HTTPError.__init__(self, 500, message.replace("%", "%%"))
        self._message = message

    def __str__(self) -> str:
        return self._message


@functools.cache
def engine_of_process(home: str) -> Engine:
    """The engine of this process, on the store that KERNEL_SANDBOX_HOME now names: one helper serves every kernel."""
    return Engine.open(home or None)


class SandboxProvisioner(LocalProvisioner):  # type: ignore[misc]  # jupyter_client is not checked
    """Starts ipykernel in a container of its own, which is removed when the kernel is shut down.

    A restart keeps the container's files. What the kernel process prints goes where the server's own output goes.
    """

    image = Unicode(
        python_reference(), config=True, help="The image; it needs python3 and ipykernel. Made if it is the usual one."
    )
    memory = Unicode("", config=True, help="Memory limit as of `docker run -m`: 512m, 2g. Empty: no limit.")
    pids_limit = Int(
        None, allow_none=True, config=True, help="How many processes and threads the kernel and its children may be."
    )
    network = Enum(("none", "host"), "none", config=True, help="none: loopback alone; host: the host's network.")
    mounts = List(
        Unicode(),
        config=True,
        help="Host directories that the kernel sees, host:container[:ro]. A host path may start with ~, and a "
        "relative one is found from the notebook's directory: .:/work",
    )
    env = List(
        Unicode(), config=True, help="Variables as of `docker run -e`: NAME=value, or NAME for the server's own."
    )

    _container: KernelContainer | None = None
    _arguments: tuple[str, ...] = ()

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the container's directory and the connection file. Raises KernelStartError."""
        self._arguments = tuple(kwargs.get("extra_arguments", ()))
        try:
            if self._container is None:
                engine = engine_of_process(os.environ.get("KERNEL_SANDBOX_HOME", ""))
                await asyncio.to_thread(ensure_image, engine, self.image, self.log.warning)
                self._container = KernelContainer(engine)
                self._use_sockets(self._container.socket_prefix)
            prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        except (SandboxError, OSError) as error:
            self._give_up(error)
        return prepared

    def _use_sockets(self, prefix: str) -> None:
        self.parent.transport = "ipc"
        self.parent.cache_ports = False
        self.parent.ip = prefix

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Start the container; *cmd*, the kernelspec's argv, is for clients that know no provisioners.

        Raises KernelStartError.
        """
        assert self._container is not None
        environment: Mapping[str, str] = kwargs.get("env", {})
        cwd = str(kwargs.get("cwd") or os.getcwd())
        start = functools.partial(
            self._container.start, self._settings(environment), self._connection(), self._arguments, environment, cwd
        )
        try:
            attachment = await asyncio.to_thread(start)
        except (SandboxError, OSError) as error:
            self._give_up(error)
        self.process = KernelProcess(attachment, self._note_end, kwargs.get("stdout"), kwargs.get("stderr"))
        info: dict[str, Any] = self.connection_info
        return info

    def _settings(self, environment: Mapping[str, str]) -> KernelSettings:
        """The traits, and what the kernelspec itself wants in the environment, its references already resolved."""
        kernelspec = (f"{name}={environment[name]}" for name in self.kernel_spec.env if name in environment)
        return KernelSettings(
            self.image, self.memory, self.pids_limit, self.network, tuple(self.mounts), (*kernelspec, *self.env)
        )

    def _connection(self) -> Connection:
        info = {**self.connection_info, "key": self.connection_info["key"].decode()}
        names = (*Connection.__struct_fields__[:-1],)
        return Connection(**{name: info[name] for name in names}, kernel_name=self.parent.kernel_name)

    def _give_up(self, error: Exception) -> None:
        """Leave nothing half-made, and raise the one line that says what is wrong."""
        self._remove()
        raise KernelStartError(f"The sandboxed kernel did not start: {error}") from None

    def _note_end(self, ending: Ending) -> None:
        if ending.oom_killed:
            limit = f"its limit of {self.memory}" if self.memory else "what this machine has"
            self.log.error("The sandboxed kernel %s was killed: it needed more memory than %s", self.kernel_id, limit)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the container and its directory, unless the kernel will be started again."""
        await super().cleanup(restart=restart)
        if not restart:
            await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        if self._container is not None:
            self._container.remove()
            self._container = None

    def resolve_path(self, path_str: str) -> str | None:
        """The kernel's paths are not the host's."""
        return None
