"""Notifies open pages of changes by server-sent events; the pages then reload what changed.

An event only names what changed, so a lost or duplicate event does no harm.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import orjson
from fastapi.sse import format_sse_event

__all__ = ["MOST_LISTENERS", "Changes"]

MOST_LISTENERS = 200

HEARTBEAT_SECONDS = 15.0
"""Of silence, after which a comment is sent: proxies close idle connections."""

PAUSE_SECONDS = 0.5
"""Between two events: a replay causes thousands of changes per second."""


class Changes:
    """Numbers changes and wakes the listeners. Use it from one event loop.

    Parameters
    ----------
    heartbeat_seconds, pause_seconds : float
    """

    def __init__(
        self, heartbeat_seconds: float = HEARTBEAT_SECONDS, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._heartbeat, self._pause = heartbeat_seconds, pause_seconds
        # every process numbers from 0, so event ids contain a name for the process
        self._process = secrets.token_hex(4)
        self._number = 0
        self._newest: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self.listeners = 0

    def publish(self, *kinds: str) -> None:
        """Announce a change of these kinds: ``"alerts"``, ``"hours"``, ``"letters"``,
        ``"samples"``, ``"workers"`` or ``"status"``.
        """
        if not kinds:
            return
        self._number += 1
        self._newest.update(dict.fromkeys(kinds, self._number))
        self._wake()

    def close(self) -> None:
        """End all streams, so that shutdown does not wait for listeners."""
        self._closed = True
        self._wake()

    async def stream(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Events in the format ``text/event-stream``.

        Parameters
        ----------
        last_event_id : str or None
            The last event that the browser saw. Everything that changed since is sent at once.
        """
        seen = self._since(last_event_id)
        self.listeners += 1
        try:
            yield format_sse_event(retry=2000)
            while not self._closed:
                changed = self._changed
                if kinds := [kind for kind, number in self._newest.items() if number > seen]:
                    seen = self._number
                    yield self._event(kinds)
                    await asyncio.sleep(self._pause)
                elif not await _within(changed, self._heartbeat):
                    yield format_sse_event(comment="still here")
        finally:
            self.listeners -= 1

    def _since(self, last_event_id: str | None) -> int:
        """The last change that a listener knows of; a new page has just loaded everything."""
        process, _, number = (last_event_id or "").partition("-")
        if not last_event_id:
            return self._number
        return int(number) if process == self._process and number.isdecimal() else -1

    def _event(self, kinds: list[str]) -> bytes:
        return format_sse_event(
            id=f"{self._process}-{self._number}",
            event="changed",
            data_str=orjson.dumps({"changed": sorted(kinds)}).decode(),
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
