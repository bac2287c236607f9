"""Reads alerts and the requests behind them back from Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from latentwatch.producers.wire import Limits, WireError, decode
from latentwatch.stream.core.errors import BrokerError, InvestigationError
from latentwatch.stream.investigate.alert import AnyAlert, newest_alert
from latentwatch.stream.kafka.reader import (
    Consumer,
    latest_by_key,
    open_consumer,
    read_spans,
    read_topic,
    spans_of,
)
from latentwatch.stream.kafka.topics import partition_counts
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.settings import Settings

__all__ = ["KafkaMessages", "alert_in_kafka"]

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""How long to wait for a record that is there, before the broker counts as away."""


def alert_in_kafka(wanted: str, settings: Settings) -> AnyAlert:
    """The newest state of an alert in the alerts topic.

    Raises
    ------
    BrokerError
        No broker answers.
    InvestigationError
        The alert or the topic does not exist.
    """
    topic = settings.topics().alerts

    async def fetch() -> dict[bytes, Any]:
        partitions = range(await _partition_count(settings, topic))
        records = read_topic(
            settings, topic, partitions=partitions, patience_seconds=PATIENCE_SECONDS
        )
        return await latest_by_key(records)

    latest = _run(fetch(), settings)
    named = [(key.decode(errors="replace"), record.value) for key, record in latest.items()]
    return newest_alert(wanted, named, f"topic {topic!r}")


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

    @property
    def name(self) -> str:
        """Where the messages are, to be shown."""
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
        """The oldest offset, and the one after the newest message."""

        async def ask() -> tuple[int, int]:
            count = await _partition_count(self._settings, self._place.topic)
            if self._place.partition >= count:
                return 0, 0
            async with self._consumer() as consumer:
                return (await spans_of(consumer, [self._place]))[self._place]

        return _run(ask(), self._settings)

    def read(self, first: int, end: int) -> list[RecordedMessage]:
        """Messages from one offset up to another, without those that a worker refuses.

        Both offsets lie within `bounds`.
        """

        async def fetch() -> list[Any]:
            async with self._consumer() as consumer:
                span = {self._place: (first, end)}
                found = read_spans(consumer, span, PATIENCE_SECONDS)
                return [record async for record in found]

        records = _run(fetch(), self._settings)
        return [message for record in records if (message := self._decoded(record)) is not None]

    def _consumer(self) -> Consumer:
        # a message that is deleted while we read is an error, not a gap
        return open_consumer(
            self._settings,
            auto_offset_reset="none",
            max_partition_fetch_bytes=self._settings.max_message_bytes,
        )

    def _decoded(self, record: Any) -> RecordedMessage | None:
        try:
            batch = decode(record.value or b"", record.headers, key=record.key, limits=self._limits)
        except WireError:
            # a dead letter, or a message without rows
            return None
        if (batch.model, batch.version) != self._lane:
            return None
        return RecordedMessage(record.partition, record.offset, batch)


async def _partition_count(settings: Settings, topic: str) -> int:
    counts = await partition_counts(settings, [topic])
    if topic not in counts:
        raise InvestigationError(
            f"the broker has no topic {topic!r}: check topic_prefix and bootstrap_servers in the "
            "settings"
        )
    return counts[topic]


def _run(work: Coroutine[Any, Any, T], settings: Settings) -> T:
    try:
        return asyncio.run(work)
    except (BrokerError, KafkaError, OSError, TimeoutError) as error:
        cause = error.__cause__ or error
        raise BrokerError(
            f"the broker at {settings.bootstrap_servers} does not answer ({cause!r}): check "
            "bootstrap_servers and the security settings, or investigate a recording with "
            "--recording and --alerts"
        ) from cause
