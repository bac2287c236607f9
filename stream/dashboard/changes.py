"""Tells open pages that something changed, by server-sent events; they then ask for it anew.

An event says what changed and no more, so that one that is lost, or comes twice, does no harm.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import orjson

__all__ = ["MOST_LISTENERS", "Changes"]

MOST_LISTENERS = 200

HEARTBEAT_SECONDS = 15.0
"""Of silence, after which a line is sent: proxies hang up on connections that say nothing."""

PAUSE_SECONDS = 0.5
"""Between two events: a replay changes something thousands of times a second."""


class Changes:
    """Counts changes and wakes who listens; to be used from one event loop.

    Parameters
    ----------
    heartbeat_seconds, pause_seconds : float
    """

    def __init__(
        self, heartbeat_seconds: float = HEARTBEAT_SECONDS, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._heartbeat, self._pause = heartbeat_seconds, pause_seconds
        # numbers begin anew in every process: its name keeps them apart
        self._process = secrets.token_hex(4)
        self._number = 0
        self._newest: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self.listeners = 0

    def tell(self, *kinds: str) -> None:
        """Something of these kinds changed: ``"alerts"``, ``"hours"``, ``"letters"``,
        ``"samples"``, ``"workers"`` or ``"status"``.
        """
        if not kinds:
            return
        self._number += 1
        self._newest.update(dict.fromkeys(kinds, self._number))
        self._wake()

    def close(self) -> None:
        """End all streams: a process that stops does not wait for its listeners."""
        self._closed = True
        self._wake()

    async def stream(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Events in the format of ``text/event-stream``.

        Parameters
        ----------
        last_event_id : str or None
            What the browser saw last: it is told at once what changed since then.
        """
        seen = self._since(last_event_id)
        self.listeners += 1
        try:
            yield b"retry: 2000\n\n"
            while not self._closed:
                changed = self._changed
                if news := [kind for kind, number in self._newest.items() if number > seen]:
                    seen = self._number
                    yield self._event(news)
                    await asyncio.sleep(self._pause)
                elif not await _within(changed, self._heartbeat):
                    yield b": still here\n\n"
        finally:
            self.listeners -= 1

    def _since(self, last_event_id: str | None) -> int:
        """Number from which on a listener wants to know; a new page fetches everything anyway."""
        process, _, number = (last_event_id or "").partition("-")
        if not last_event_id:
            return self._number
        return int(number) if process == self._process and number.isdecimal() else -1

    def _event(self, kinds: list[str]) -> bytes:
        data = orjson.dumps({"changed": sorted(kinds)}).decode()
        return f"id: {self._process}-{self._number}\nevent: changed\ndata: {data}\n\n".encode()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
