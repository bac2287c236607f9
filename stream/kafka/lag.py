"""The lag of the workers: messages that their consumer group has not committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.kafka.reader import Consumer, open_consumer, spans_of
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.settings import Settings

__all__ = ["WorkerLag", "messages_between"]

_NO_COORDINATOR = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""The group has no coordinator yet, or a new one, so nothing is known to be committed."""

LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


def messages_between(committed: Mapping[int, int], ends: Mapping[int, int]) -> int:
    """Messages before `ends` that are not committed; both are next offsets by partition."""
    return sum(max(0, end - committed.get(partition, 0)) for partition, end in ends.items())


class WorkerLag:
    """Asks Kafka how far the consumer group of the workers lags behind; use it by ``async with``.

    Parameters
    ----------
    settings : Settings
    patience_seconds : float
        How long workers that lag too far behind may make no progress.
    **options
        As for aiokafka's admin client.
    """

    def __init__(
        self, settings: Settings, patience_seconds: float = PATIENCE_SECONDS, **options: Any
    ) -> None:
        self._settings, self._patience_seconds = settings, patience_seconds
        self._group = settings.application_id
        self._topic = settings.topics().activations
        self._admin = AIOKafkaAdminClient(**settings.kafka_options(), **options)
        self._opened = AsyncExitStack()
        self._consumer: Consumer | None = None
        self._places: list[TopicPartition] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect; call `close` even if that fails."""
        self._opened.push_async_callback(self._admin.close)
        await self._admin.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._opened.aclose()

    async def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Next offset of each partition that is committed; 0 if none is.

        Raises
        ------
        KafkaError
            The group has no coordinator at the moment, or no broker answers.
        """
        # named, because librdkafka's mock cluster has no answer to "all"
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        found = await self._admin.list_consumer_group_offsets(self._group, partitions=places)
        return {place.partition: max(0, one.offset) for place, one in found.items()}

    async def messages(self, ends: Mapping[int, int]) -> int:
        """Messages before `ends`, the next offset by partition, that are not committed."""
        if not ends:
            return 0
        try:
            committed = await self.committed(ends)
        except _NO_COORDINATOR:
            committed = {}
        return messages_between(committed, ends)

    async def total(self) -> int:
        """Messages of the whole topic that are not committed.

        Raises
        ------
        TopicError
            There is no such topic.
        """
        if self._consumer is None:
            count = await partition_count(self._settings, self._topic)
            self._places = [TopicPartition(self._topic, p) for p in range(count)]
            consumer = open_consumer(self._settings)
            await self._opened.enter_async_context(consumer)
            self._consumer = consumer
        spans = await spans_of(self._consumer, self._places)
        # what Kafka has deleted does not wait
        waiting = {p.partition: end for p, (begin, end) in spans.items() if end > begin}
        return await self.messages(waiting)

    async def wait_below(self, most: int, ends: Mapping[int, int]) -> None:
        """Wait until the workers are at most `most` messages behind.

        Raises
        ------
        BrokerError
            They have made no progress for `patience_seconds`.
        """
        loop = asyncio.get_running_loop()
        least, moved = await self.messages(ends), loop.time()
        behind = least
        while behind > most:
            if loop.time() - moved > self._patience_seconds:
                raise BrokerError(
                    f"the workers of {self._group!r} are {behind:,} messages behind and have made "
                    f"no progress for {self._patience_seconds:g} s: start one with `latentwatch "
                    "worker`, check its log, or replay without a limit (--most-lag 0)"
                )
            await asyncio.sleep(LOOK_SECONDS)
            behind = await self.messages(ends)
            if behind < least:
                least, moved = behind, loop.time()
