"""Events that open pages receive."""

import asyncio
import re
from collections.abc import AsyncIterator

from latentwatch.stream.dashboard.changes import Changes


async def first(stream: AsyncIterator[bytes], most: int) -> list[str]:
    """Its first events, after the one that sets the reconnection delay."""
    pieces = [(await anext(stream)).decode() for _ in range(most + 1)]
    return pieces[1:]


def kinds(piece: str) -> str:
    found = re.search(r'"changed":\[(.*)\]', piece)
    return found[1] if found else ""


def test_a_page_receives_what_changes_after_it_was_opened() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        changes.publish("alerts")
        stream = changes.stream(None)
        assert await anext(stream) == b"retry: 2000\n\n"
        assert changes.listeners == 1
        changes.publish("hours", "letters")
        assert kinds((await anext(stream)).decode()) == '"hours","letters"'

    asyncio.run(run())


def test_simultaneous_changes_are_sent_together() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        stream = changes.stream(None)
        await anext(stream)
        changes.publish("hours")
        changes.publish("alerts")
        assert kinds((await anext(stream)).decode()) == '"alerts","hours"'

    asyncio.run(run())


def test_a_page_that_reconnects_receives_what_it_missed() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        stream = changes.stream(None)
        await anext(stream)
        changes.publish("hours")
        lines = (await anext(stream)).decode().split("\n")
        (seen,) = (line.removeprefix("id: ") for line in lines if line.startswith("id: "))
        changes.publish("alerts")
        (missed,) = await first(changes.stream(seen), 1)
        assert kinds(missed) == '"alerts"'
        for foreign in ("another-1", "nonsense", "-", f"{seen}x"):
            (everything,) = await first(changes.stream(foreign), 1)
            assert kinds(everything) == '"alerts","hours"'

    asyncio.run(run())


def test_idle_streams_send_heartbeats_and_end_on_close() -> None:
    async def run() -> None:
        changes = Changes(heartbeat_seconds=0.01)
        stream = changes.stream(None)
        (beat,) = await first(stream, 1)
        assert beat == ": still here\n\n"
        changes.close()
        assert [piece async for piece in stream] == []
        assert changes.listeners == 0

    asyncio.run(run())
