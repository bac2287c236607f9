"""Follows the lag of the workers through the whole run, while brokers come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from aiokafka.errors import KafkaError

from latentwatch.stream.kafka.lag import WorkerLag, messages_between
from latentwatch.stream.settings import Settings

__all__ = ["LagWatch"]

LOOK_SECONDS = 0.2
ANSWER_SECONDS = 5.0


class LagWatch:
    """Keeps the newest offsets that the workers' group has committed.

    Parameters
    ----------
    settings : Settings
        With the servers of the harness.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._moved = asyncio.Condition()
        self.committed: dict[int, int] = {}

    def behind(self, ends: Mapping[int, int]) -> int:
        """Messages before `ends` that are not committed."""
        return messages_between(self.committed, ends)

    async def until(self, ends: Mapping[int, int], patience_seconds: float) -> float | None:
        """Seconds until everything before `ends` is committed; None if that takes too long."""
        goal, started = dict(ends), time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds), self._moved:
                await self._moved.wait_for(lambda: not self.behind(goal))
            return time.monotonic() - started
        return None

    async def run(self) -> None:
        """Look until cancelled; a client that fails is replaced."""
        while True:
            lag = WorkerLag(self._settings, request_timeout_ms=5_000)
            try:
                await lag.start()
                while True:
                    await self._look(lag)
                    await asyncio.sleep(LOOK_SECONDS)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(LOOK_SECONDS)
            finally:
                with suppress(Exception):
                    await lag.close()

    async def _look(self, lag: WorkerLag) -> None:
        found = await asyncio.wait_for(
            lag.committed(range(self._settings.partitions)), ANSWER_SECONDS
        )
        async with self._moved:
            self.committed = found
            self._moved.notify_all()
