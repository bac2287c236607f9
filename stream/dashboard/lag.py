"""The lag of the workers as Kafka knows it, whether or not any worker responds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka.errors import KafkaError

from latentwatch.stream.core.errors import StreamError
from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.store import Store
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.settings import Settings

__all__ = ["GroupLag"]

PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 5.0


class GroupLag:
    """Keeps the number of messages that the workers' consumer group has not committed.

    Parameters
    ----------
    settings : Settings
    store : Store
    changes : Changes
    every_seconds : float
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        changes: Changes,
        every_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._store, self._changes = settings, store, changes
        self._every, self._clock = every_seconds, clock
        self.messages: int | None = None
        self.trouble = ""

    async def run(self) -> None:
        """Look until cancelled; a broker that is away is retried for ever."""
        while True:
            try:
                await self._watch()
            except (KafkaError, StreamError, OSError, TimeoutError) as error:
                self.messages, self.trouble = None, f"the lag is not known ({error})"
                self._changes.publish("workers")
                await asyncio.sleep(PAUSE_SECONDS)

    async def _watch(self) -> None:
        async with WorkerLag(self._settings) as lag:
            while True:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    messages = await lag.total()
                await self._keep(messages)
                await asyncio.sleep(self._every)

    async def _keep(self, messages: int) -> None:
        self.trouble = ""
        self.messages = messages
        await asyncio.to_thread(self._store.take_lag, self._clock(), messages)
        self._changes.publish("workers")
