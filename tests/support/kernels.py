"""A sandboxed kernel and its client, for tests that talk to one, and what kernels leave behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from kernel_sandbox.engine.paths import Paths

KERNEL = "python3-sandbox"
READY = 60.0
REPLY = 30.0


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready."""

    manager: KernelManager
    client: BlockingKernelClient

    def run(self, code: str) -> str:
        """Execute ``code``; return what it wrote, and of an error its name and message.

        Raises:
            TimeoutError: no answer after half a minute.
        """
        written: list[str] = []

        def note(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                written.append(content["text"])
            elif message["msg_type"] == "error":
                written.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, output_hook=note, timeout=REPLY)
        return "".join(written).replace("\r\n", "\n").strip()

    def restart(self, now: bool = False) -> None:
        """Restart the kernel and wait until it is ready again."""
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=READY)


@contextmanager
def kernel(**settings: Any) -> Iterator[Kernel]:
    """A ready sandboxed kernel, its provisioner's traits set to ``settings``; shut down at the end."""
    manager = KernelManager(kernel_name=KERNEL, config=Config({"SandboxProvisioner": settings}))
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=READY)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def remains() -> set[str]:
    """The containers of the store that is in use, running or not, and its files of running ones."""
    paths = Paths.of()
    containers = os.listdir(os.path.join(paths.home, "containers"))
    return {*containers, *(os.listdir(paths.run) if os.path.isdir(paths.run) else ())}
