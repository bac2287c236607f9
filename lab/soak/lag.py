"""How far the workers have got, asked all the time, brokers that are away included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from latentwatch.stream.settings import Settings

__all__ = ["LagWatch"]

LOOK_SECONDS = 0.2
ANSWER_SECONDS = 5.0


class LagWatch:
    """Follows the offsets that the workers' group commits.

    Parameters
    ----------
    settings : Settings
        With the servers of the harness.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics().activations
        self._moved = asyncio.Condition()
        self.committed: dict[int, int] = {}

    def behind(self, ends: Mapping[int, int]) -> int:
        """Messages before `ends` that are not committed."""
        return sum(max(0, end - self.committed.get(p, 0)) for p, end in ends.items())

    async def until(self, ends: Mapping[int, int], patience_seconds: float) -> float | None:
        """Seconds until everything before `ends` is committed; None if that takes too long."""
        goal, started = dict(ends), time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds), self._moved:
                await self._moved.wait_for(lambda: not self.behind(goal))
            return time.monotonic() - started
        return None

    async def run(self) -> None:
        """Look for ever; an admin client that failed is replaced by another one."""
        while True:
            admin = AIOKafkaAdminClient(**self._settings.kafka_options(), request_timeout_ms=5_000)
            try:
                await admin.start()
                while True:
                    await self._look(admin)
                    await asyncio.sleep(LOOK_SECONDS)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(LOOK_SECONDS)
            finally:
                with suppress(Exception):
                    await admin.close()

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        places = [TopicPartition(self._topic, p) for p in range(self._settings.partitions)]
        found = await asyncio.wait_for(
            admin.list_consumer_group_offsets(self._settings.application_id, partitions=places),
            ANSWER_SECONDS,
        )
        async with self._moved:
            self.committed = {p.partition: max(0, o.offset) for p, o in found.items()}
            self._moved.notify_all()
