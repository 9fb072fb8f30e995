"""``python -m kernel_sandbox.jupyter.launch -f FILE``: the kernelspec's command, for clients without provisioners.

Such a client (VS Code) runs the kernelspec's argv itself and connects to TCP ports on this machine. The kernel runs
in the same container as ever, and this process joins the ports to its sockets; it goes with the kernel, and the
kernel with it. Arguments that are not known here go to ipykernel.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from kernel_sandbox.bootstrap.plan import python_reference
from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.jupyter.container import KernelContainer, ensure_image
from kernel_sandbox.jupyter.plan import Connection, KernelSettings
from kernel_sandbox.jupyter.process import KernelProcess
from kernel_sandbox.jupyter.relay import relaying
from kernel_sandbox.runtime.frames import Ending
from kernel_sandbox.spec.decoding import decodable

_WATCH_SECONDS = 0.5
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a kernel to its end; returns its exit status, or 125 after the line that says why there is none."""
    settings, connection_file, others = _parsed(arguments)
    try:
        connection = _read(connection_file)
        with Engine.open() as engine:
            ensure_image(engine, settings.image, _say)
            with KernelContainer(engine) as container:
                return asyncio.run(_run(container, settings, connection, others))
    except (SandboxError, OSError) as error:
        _say(f"The sandboxed kernel did not start: {error}")
        return 125


def _parsed(arguments: Sequence[str] | None) -> tuple[KernelSettings, str, tuple[str, ...]]:
    parser = argparse.ArgumentParser(prog="python -m kernel_sandbox.jupyter.launch", allow_abbrev=False)
    parser.add_argument("-f", dest="connection_file", required=True, help="the connection file, written by the client")
    parser.add_argument("--image", default=python_reference())
    parser.add_argument("--memory", default="", help="limit, such as 512m")
    parser.add_argument("--pids-limit", type=int)
    parser.add_argument("--network", default="none", help="none or host")
    parser.add_argument("--mount", action="append", default=[], help="host:container[:ro]")
    parser.add_argument("--env", action="append", default=[], help="NAME=value, or NAME to pass it on")
    known, others = parser.parse_known_args(arguments)
    settings = KernelSettings(
        known.image, known.memory, known.pids_limit, known.network, tuple(known.mount), tuple(known.env)
    )
    return settings, known.connection_file, tuple(others)


def _read(path: str) -> Connection:
    try:
        with open(path, "rb") as file:
            connection = msgspec.json.decode(file.read(), type=decodable(Connection))
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is not a connection file: {error}") from None
    if connection.transport != "tcp":
        raise UsageError(f"{path} asks for transport {connection.transport}: only tcp can be relayed")
    return connection


async def _run(
    container: KernelContainer, settings: KernelSettings, connection: Connection, arguments: tuple[str, ...]
) -> int:
    async with relaying(connection.ip, connection.ports, container.socket_prefix):
        attachment = container.start(settings, connection, arguments, os.environ, os.getcwd())
        kernel = KernelProcess(attachment, _tell_end)
        loop = asyncio.get_running_loop()
        for number in _FORWARDED:
            loop.add_signal_handler(number, kernel.send_signal, number)
        parent = os.getppid()
        while kernel.poll() is None:
            if os.getppid() != parent:
                kernel.kill()
            await asyncio.to_thread(kernel.join, _WATCH_SECONDS)
        return kernel.wait()


def _tell_end(ending: Ending) -> None:
    if ending.oom_killed:
        _say("The sandboxed kernel was killed: it needed more memory than it may have")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
