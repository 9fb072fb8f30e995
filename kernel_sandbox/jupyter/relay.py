"""Local TCP ports that lead to a kernel's Unix sockets: bytes are moved, nothing is read in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

_CHUNK = 1 << 16
_PAUSE = 0.02


@asynccontextmanager
async def relaying(ip: str, ports: Sequence[int], socket_prefix: str) -> AsyncIterator[None]:
    """Listen on each of *ports*; what connects to one is connected to the socket *socket_prefix*-PORT.

    A socket that is not there yet is waited for. Raises OSError where a port is taken.
    """
    async with AsyncExitStack() as stack:
        for port in ports:
            relay = _Relay(f"{socket_prefix}-{port}")
            server = await asyncio.start_server(relay.serve, ip, port)
            stack.callback(server.close)
        yield


class _Relay:
    """One port."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one client to the kernel until either hangs up."""
        try:
            from_kernel, to_kernel = await self._connected()
            directions = {
                asyncio.create_task(_move(reader, to_kernel)),
                asyncio.create_task(_move(from_kernel, writer)),
            }
            _, pending = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in pending:
                direction.cancel()
            to_kernel.close()
        finally:
            writer.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return await asyncio.open_unix_connection(self._path)
            await asyncio.sleep(_PAUSE)


async def _move(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
