"""The gateway between workers and broker: it forwards, and it can be cut in two ways."""

import asyncio
from contextlib import suppress

import pytest

from latentwatch.lab.brokers.kafka_files import HOST, free_port
from latentwatch.lab.soak.gateway import Gateway


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
    writer.close()


async def exercise() -> dict[str, bytes]:
    """What comes back while it is open, cut in silence, mended, and refused."""
    found = {}
    server = await asyncio.start_server(echo, HOST, 0)
    target = server.sockets[0].getsockname()[1]
    async with server, Gateway(free_port(), target) as gateway:
        reader, writer = await asyncio.open_connection(HOST, gateway.port)
        writer.write(b"open")
        found["open"] = await reader.readexactly(4)
        gateway.cut("silent")
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(4), 0.2)
        gateway.mend()
        found["mended"] = await reader.readexactly(4)
        gateway.cut("refused")
        with suppress(ConnectionError):
            found["reset"] = await reader.read(4)
        other_reader, other = await asyncio.open_connection(HOST, gateway.port)
        with suppress(ConnectionError):
            found["refused"] = await other_reader.read(4)
        writer.close()
        other.close()
    return found


def test_what_was_sent_in_silence_arrives_when_it_is_mended() -> None:
    found = asyncio.run(exercise())
    assert (found["open"], found["mended"]) == (b"open", b"late")
    assert found.get("reset", b"") == found.get("refused", b"") == b""
