"""The lane-state topic: where the state of each lane survives the worker.

A compacted topic of our own, with as many partitions as the input: the state of a lane stands in
the partition with its input's number. It is written and awaited before the input offsets are
acknowledged, and read to its end before the first record of an assigned partition is processed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.kafka.consumers import stop_consumer

__all__ = ["read_lane_states", "read_partition", "state_key"]

_log = structlog.get_logger("latentwatch.state")


def state_key(key: LaneKey) -> bytes:
    """Key of a lane's record within its partition."""
    return f"{key.model}/{key.version}".encode()


async def read_partition(
    kafka_options: dict[str, Any], topic: str, partition: int, before: int | None = None
) -> AsyncIterator[tuple[bytes | None, bytes | None]]:
    """Keys and values of a partition, from its beginning to its present end or to an offset.

    One after another: what is not compacted yet may be much more than what it says.
    """
    place = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        **kafka_options, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        if before is not None:
            end = min(end, before)
        await consumer.seek_to_beginning(place)
        # compaction and transactions leave gaps: the position tells the end, not the count
        while await consumer.position(place) < end:
            for batch in (await consumer.getmany(place, timeout_ms=500)).values():
                for record in batch:
                    if record.offset < end:
                        yield record.key, record.value
    finally:
        await stop_consumer(consumer)


async def read_lane_states(
    kafka_options: dict[str, Any], topic: str, partition: int
) -> list[bytes]:
    """State of each lane of a partition: of several records, the one that got furthest.

    A worker that was paused may write its old state after another one took over; the offset in the
    state, not the order of arrival, says which is newer.
    """
    newest: dict[bytes, tuple[int, bytes]] = {}
    async for key, value in read_partition(kafka_options, topic, partition):
        if key is None or value is None:
            continue
        try:
            offset = Lane.offset_of(value)
        except StateError as error:
            _log.error(
                "lane state unreadable: passed over",
                key=key.decode(errors="replace"),
                error=str(error),
            )
            continue
        if key not in newest or offset >= newest[key][0]:
            newest[key] = (offset, value)
    return [value for _, value in newest.values()]
