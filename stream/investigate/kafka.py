"""Alerts and requests, read back from Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from latentwatch.producers.wire import Limits, WireError, decode
from latentwatch.stream.core.errors import BrokerError, InvestigationError
from latentwatch.stream.investigate.alert import AnyAlert, newest_alert
from latentwatch.stream.kafka.bounded_batches import read_within_bounds
from latentwatch.stream.kafka.consumers import stop_consumer
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.settings import Settings

__all__ = ["KafkaMessages", "alert_in_kafka"]

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""Without a record for so long, a broker that has some does not answer."""


def alert_in_kafka(wanted: str, settings: Settings) -> AnyAlert:
    """The newest state of an alert in the alerts topic.

    Raises
    ------
    BrokerError
        No broker answers.
    InvestigationError
        There is no such alert, or no such topic.
    """
    topic = settings.topics().alerts
    records = _run(_records_by_key(settings, topic), settings)
    return newest_alert(wanted, records, f"topic {topic!r}")


async def _records_by_key(settings: Settings, topic: str) -> list[tuple[str, bytes]]:
    places = [TopicPartition(topic, p) for p in await _partitions(settings, topic)]
    async with _consumer(settings) as consumer:
        begins, ends = await _bounds(consumer, places)
        found = []
        for place in places:
            for record in await _read(consumer, place, begins[place], ends[place]):
                if record.key is not None and record.value is not None:
                    found.append((record.key.decode(errors="replace"), record.value))
        return found


class KafkaMessages:
    """Messages of one model version on one partition of the activations topic.

    Parameters
    ----------
    settings : Settings
    model, version : str
    partition : int
    """

    def __init__(self, settings: Settings, model: str, version: str, partition: int) -> None:
        self._settings, self._lane = settings, (model, version)
        self._place = TopicPartition(settings.topics().activations, partition)
        self._limits = Limits(value_bytes=settings.max_message_bytes)
        read_within_bounds(settings.max_message_bytes)

    @property
    def name(self) -> str:
        """Where the messages are, for people."""
        return f"topic {self._place.topic!r}, partition {self._place.partition}"

    @property
    def gone(self) -> str:
        """Why offsets may be missing, and what to do about it."""
        return (
            "Kafka's retention has deleted them; keep the topic longer (retention.ms), or record "
            "the traffic next time with `latentwatch record`, and name the recording with "
            "--recording"
        )

    def bounds(self) -> tuple[int, int]:
        """The first offset that is there, and the one after the last."""

        async def ask() -> tuple[int, int]:
            partitions = await _partitions(self._settings, self._place.topic)
            if self._place.partition not in partitions:
                return 0, 0
            async with _consumer(self._settings) as consumer:
                begins, ends = await _bounds(consumer, [self._place])
                return begins[self._place], ends[self._place]

        return _run(ask(), self._settings)

    def read(self, first: int, end: int) -> list[RecordedMessage]:
        """Messages from one offset on, before another; those that no worker took are left out."""

        async def fetch() -> list[Any]:
            async with _consumer(self._settings) as consumer:
                return await _read(consumer, self._place, first, end)

        records = _run(fetch(), self._settings)
        return [message for record in records if (message := self._decoded(record)) is not None]

    def _decoded(self, record: Any) -> RecordedMessage | None:
        try:
            batch = decode(record.value or b"", record.headers, key=record.key, limits=self._limits)
        except WireError:
            # the worker sent it to the dead letters, or it has no rows
            return None
        if (batch.model, batch.version) != self._lane:
            return None
        return RecordedMessage(record.partition, record.offset, batch)


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=settings.max_message_bytes,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await stop_consumer(consumer)


async def _partitions(settings: Settings, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    try:
        await admin.start()
        described = {found["topic"]: found for found in await admin.describe_topics()}
    finally:
        await admin.close()
    if topic not in described:
        raise InvestigationError(
            f"the broker has no topic {topic!r}: check topic_prefix and bootstrap_servers in the "
            "settings"
        )
    return sorted(partition["partition"] for partition in described[topic]["partitions"])


async def _bounds(
    consumer: AIOKafkaConsumer, places: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    return await consumer.beginning_offsets(places), await consumer.end_offsets(places)


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, first: int, end: int
) -> list[Any]:
    """Records from one offset on, before another; both lie within the partition's bounds."""
    consumer.assign([place])
    consumer.seek(place, first)
    records: list[Any] = []
    async with asyncio.timeout(PATIENCE_SECONDS) as patience:
        # compaction and transactions leave gaps: the position tells the end, not the count
        while await consumer.position(place) < end:
            for batch in (await consumer.getmany(place, timeout_ms=500)).values():
                records += [record for record in batch if record.offset < end]
                patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
    return records


def _run(work: Coroutine[Any, Any, T], settings: Settings) -> T:
    try:
        return asyncio.run(work)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(
            f"the broker at {settings.bootstrap_servers} does not answer ({error!r}): check "
            "bootstrap_servers and the security settings, or look into a recording with "
            "--recording and --alerts"
        ) from error
