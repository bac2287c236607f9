"""A TCP proxy between workers and broker that can be cut, to make the broker unreachable."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal, Self

__all__ = ["Cut", "Gateway"]

HOST = "127.0.0.1"
CHUNK = 1 << 16

Cut = Literal["silent", "refused"]
"""``silent``: packets vanish without an error, as behind a firewall; ``refused``: connections are
reset and new ones end at once, as when a host is up and the broker is not."""


class Gateway:
    """Forwards every connection to a port of this machine, until it is cut.

    Parameters
    ----------
    port : int
        Port to listen on; the broker must advertise it to the clients that use the gateway.
    target : int
        Port of the broker.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self._open = asyncio.Event()
        self._open.set()
        self._cut: Cut | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(self, *_: Any) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, how: Cut) -> None:
        """Stop forwarding."""
        self._cut = how
        self._open.clear()
        if how == "refused":
            for writer in list(self._writers):
                writer.transport.abort()

    def mend(self) -> None:
        """Forward again; data that was held back arrives now."""
        self._cut = None
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._cut != "refused":
                await self._open.wait()
                with contextlib.suppress(OSError):
                    await self._forward(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy ends; asyncio would log the cancellation of a handler
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(HOST, self._target)
        both = {writer, back_writer}
        self._writers |= both
        ways = [
            asyncio.create_task(self._copy(reader, back_writer)),
            asyncio.create_task(self._copy(back_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= both
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
