"""What open pages are told."""

import asyncio
import re
from collections.abc import AsyncIterator

from latentwatch.stream.dashboard.changes import Changes


async def first(stream: AsyncIterator[bytes], most: int) -> list[str]:
    """Its first pieces, without the one that says when to come again."""
    pieces = [(await anext(stream)).decode() for _ in range(most + 1)]
    return pieces[1:]


def kinds(piece: str) -> str:
    found = re.search(r'"changed":\[(.*)\]', piece)
    return found[1] if found else ""


def test_a_page_is_told_of_what_changes_after_it_came() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        changes.tell("alerts")
        stream = changes.stream(None)
        assert await anext(stream) == b"retry: 2000\n\n"
        assert changes.listeners == 1
        changes.tell("hours", "letters")
        assert kinds((await anext(stream)).decode()) == '"hours","letters"'

    asyncio.run(run())


def test_changes_that_come_together_are_told_together() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        stream = changes.stream(None)
        await anext(stream)
        changes.tell("hours")
        changes.tell("alerts")
        assert kinds((await anext(stream)).decode()) == '"alerts","hours"'

    asyncio.run(run())


def test_a_page_that_lost_its_connection_is_told_what_it_missed() -> None:
    async def run() -> None:
        changes = Changes(pause_seconds=0.0)
        stream = changes.stream(None)
        await anext(stream)
        changes.tell("hours")
        seen = (await anext(stream)).decode().split("\n")[0].removeprefix("id: ")
        changes.tell("alerts")
        (missed,) = await first(changes.stream(seen), 1)
        assert kinds(missed) == '"alerts"'
        for foreign in ("another-1", "nonsense", "-", f"{seen}x"):
            (everything,) = await first(changes.stream(foreign), 1)
            assert kinds(everything) == '"alerts","hours"'

    asyncio.run(run())


def test_silence_is_broken_and_streams_end_when_asked_to() -> None:
    async def run() -> None:
        changes = Changes(heartbeat_seconds=0.01)
        stream = changes.stream(None)
        (beat,) = await first(stream, 1)
        assert beat == ": still here\n\n"
        changes.close()
        assert [piece async for piece in stream] == []
        assert changes.listeners == 0

    asyncio.run(run())
