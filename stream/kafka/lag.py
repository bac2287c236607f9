"""How far the worker is behind: the offsets that its consumer group has committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.settings import Settings

__all__ = ["WorkerLag"]

_NOBODY_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""The group has no coordinator so far, or a new one: its offsets are asked for again soon."""

LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


class WorkerLag:
    """Asks Kafka for the offsets of the workers' consumer group.

    Parameters
    ----------
    settings : Settings
    patience_seconds : float
        How long workers that are too far behind may stand still.
    """

    def __init__(self, settings: Settings, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._group = settings.application_id
        self._topic = settings.topics().activations
        self._admin = AIOKafkaAdminClient(**settings.kafka_options())

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._admin.close()

    async def messages(self, ends: Mapping[int, int]) -> int:
        """Messages before `ends`, the next offset by partition, that are not committed."""
        if not ends:
            return 0
        # named, for librdkafka's mock cluster has no answer to "all"
        places = [TopicPartition(self._topic, partition) for partition in ends]
        try:
            committed = await self._admin.list_consumer_group_offsets(
                self._group, partitions=places
            )
        except _NOBODY_YET:
            committed = {}
        behind = 0
        for partition, end in ends.items():
            found = committed.get(TopicPartition(self._topic, partition))
            behind += max(0, end - max(0, found.offset if found else 0))
        return behind

    async def wait_below(self, most: int, ends: Mapping[int, int]) -> None:
        """Wait until the worker is at most so many messages behind.

        Raises
        ------
        BrokerError
            They have not moved for `patience_seconds`.
        """
        loop = asyncio.get_running_loop()
        least, moved = await self.messages(ends), loop.time()
        behind = least
        while behind > most:
            if loop.time() - moved > self._patience_seconds:
                raise BrokerError(
                    f"the workers of {self._group!r} are {behind:,} messages behind and have not "
                    f"moved for {self._patience_seconds:g} s: start one with `latentwatch worker` "
                    "or look into its log, or replay without that limit (--most-lag 0)"
                )
            await asyncio.sleep(LOOK_SECONDS)
            behind = await self.messages(ends)
            if behind < least:
                least, moved = behind, loop.time()
