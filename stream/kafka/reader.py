"""The one place that opens Kafka consumers, and the one loop that reads a topic to its end.

Every consumer opened here reads batches within bounds (see `.bounded_batches`), skips records of
transactions that were aborted, commits nothing by itself, and can be stopped while its broker is
away. Callers cannot forget any of it, and a test checks that nothing else builds a consumer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from latentwatch.stream.kafka.bounded_batches import Bounds, reading_within
from latentwatch.stream.kafka.topics import required_partitions
from latentwatch.stream.settings import Settings

__all__ = [
    "Consumer",
    "Spans",
    "has_reached",
    "latest_by_key",
    "open_consumer",
    "read_spans",
    "read_topic",
    "spans_of",
]

POLL_MS = 500

Spans = Mapping[TopicPartition, tuple[int, int]]
"""For each partition the first offset to read, and the one to stop before."""


class Consumer(AIOKafkaConsumer):
    """aiokafka's consumer, reading within bounds and always able to stop.

    Parameters
    ----------
    *topics : str
        Topics to subscribe to; none if partitions are assigned later.
    bounds : Bounds
    **options
        As for aiokafka's consumer.
    """

    def __init__(self, *topics: str, bounds: Bounds, **options: Any) -> None:
        super().__init__(*topics, **options)
        self.bounds = bounds

    async def start(self) -> None:
        """Connect to the broker; nothing is left open if that fails."""
        try:
            with reading_within(self.bounds):
                await super().start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop, whatever the fetches are doing.

        aiokafka cancels its own fetches and waits for them. A fetch that is about to be retried,
        because its broker is away, then raises the cancellation in the caller, as if the caller
        had been cancelled; and the connections stay open.
        """
        try:
            await super().stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            fetches = list(self._fetcher._pending_tasks)
            for fetch in fetches:
                fetch.cancel()
            await asyncio.gather(*fetches, return_exceptions=True)
            await self._client.close()


def open_consumer(
    settings: Settings, *topics: str, bounds: Bounds | None = None, **options: Any
) -> Consumer:
    """Build a consumer, to be started and stopped by ``async with``.

    Parameters
    ----------
    settings : Settings
        How to reach the broker.
    *topics : str
        Topics to subscribe to; none if partitions are assigned later.
    bounds : Bounds, optional
        By default those of a message that a worker accepts.
    **options
        As for aiokafka's consumer. By default it starts at the oldest record, commits nothing by
        itself and reads only what is committed.
    """
    defaults = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }
    return Consumer(
        *topics,
        bounds=bounds or Bounds.of(settings),
        **{**defaults, **settings.kafka_options(), **options},
    )


async def spans_of(
    consumer: Consumer, places: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """The oldest offset of each partition, and the one after its newest record."""
    wanted = list(places)
    begins = await consumer.beginning_offsets(wanted)
    ends = await consumer.end_offsets(wanted)
    return {place: (begins[place], ends[place]) for place in wanted}


async def has_reached(consumer: Consumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether a consumer has read every partition up to an offset."""
    return all([await consumer.position(place) >= end for place, end in ends.items()])


async def read_spans(
    consumer: Consumer, spans: Spans, patience_seconds: float | None = None
) -> AsyncIterator[Any]:
    """Read stretches of partitions with an open consumer, in the order of each partition.

    Parameters
    ----------
    consumer : Consumer
        Partitions that it does not have yet are assigned to it. Seek before reading on with it:
        it may have read beyond the ends.
    spans : mapping of TopicPartition to (int, int)
        Stretches; empty ones are skipped.
    patience_seconds : float, optional
        How long to wait for the next record; for ever by default.

    Raises
    ------
    TimeoutError
        No record came for `patience_seconds`.
    """
    left = {place: end for place, (first, end) in spans.items() if first < end}
    if not left:
        return
    if not consumer.assignment() >= set(left):
        consumer.assign(list(left))
    for place in left:
        consumer.seek(place, spans[place][0])
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while left:
        batches = await consumer.getmany(*left, timeout_ms=POLL_MS)
        for place, records in batches.items():
            for record in records:
                if record.offset < left[place]:
                    yield record
        # compaction and transactions leave gaps: the position tells the end, not the count
        left = {place: end for place, end in left.items() if await consumer.position(place) < end}
        if batches:
            heard = loop.time()
        elif patience_seconds is not None and loop.time() - heard > patience_seconds:
            raise TimeoutError(f"no record for {patience_seconds:g} s")


async def read_topic(
    settings: Settings,
    *topics: str,
    partitions: Iterable[int] | None = None,
    before: int | None = None,
    patience_seconds: float | None = None,
    **options: Any,
) -> AsyncIterator[Any]:
    """Read topics from the beginning to where they end when the reading starts.

    Records come one at a time, in the order of each partition: a topic that is not compacted yet
    may be much larger than what it says.

    Parameters
    ----------
    settings : Settings
    *topics : str
    partitions : iterable of int, optional
        All by default.
    before : int, optional
        Offset to stop before, in each partition; the end by default.
    patience_seconds : float, optional
        How long to wait for the next record; for ever by default.
    **options
        As for `open_consumer`.

    Raises
    ------
    BrokerError, TopicError
        No broker answers, or there is no such topic; unless `partitions` are given.
    TimeoutError
        No record came for `patience_seconds`.
    """
    if partitions is None:
        counts = await required_partitions(settings, topics)
        places = [TopicPartition(topic, p) for topic in topics for p in range(counts[topic])]
    else:
        wanted = list(partitions)
        places = [TopicPartition(topic, p) for topic in topics for p in wanted]
    async with open_consumer(settings, **options) as consumer:
        spans = await spans_of(consumer, places)
        if before is not None:
            spans = {place: (first, min(end, before)) for place, (first, end) in spans.items()}
        async for record in read_spans(consumer, spans, patience_seconds):
            yield record


async def latest_by_key(records: AsyncIterator[Any]) -> dict[bytes, Any]:
    """The newest record of each key, as compaction would leave it.

    Records without a key are skipped, and a key is dropped when a record without a value deletes
    it.
    """
    latest: dict[bytes, Any] = {}
    async for record in records:
        if record.key is None:
            continue
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record
    return latest
