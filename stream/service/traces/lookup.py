"""From an alert to the traces of its requests, out of Kafka; OpenTelemetry is not needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from latentwatch.producers.wire import Limits, WireError, decode
from latentwatch.stream.core.errors import BrokerError, TopicError
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.settings import Settings

__all__ = ["RequestTrace", "request_traces"]


class RequestTrace(NamedTuple):
    """One of the most suspicious requests of an alert, and its trace.

    `traceparent` is None where the request came without one, or its message is gone.
    """

    request_id: str
    p_value: float
    traceparent: str | None

    @property
    def trace_id(self) -> str | None:
        """The part of the trace parent that tracing tools search for."""
        return self.traceparent.split("-")[1] if self.traceparent else None


async def request_traces(settings: Settings, wanted: str) -> list[RequestTrace]:
    """The most suspicious requests of an alert, the most suspicious first, with their traces.

    Parameters
    ----------
    settings : Settings
    wanted : str
        Id of the alert, or as much of its beginning as tells it from others.

    Raises
    ------
    BrokerError
        No broker answers.
    TopicError
        There is no alerts topic, no such alert, or several begin so.
    """
    topics = settings.topics()
    partitions = range(await partition_count(settings, topics.alerts))
    try:
        async with AIOKafkaConsumer(
            **settings.kafka_options(),
            enable_auto_commit=False,
            max_partition_fetch_bytes=settings.max_message_bytes,
        ) as consumer:
            records = [
                record
                for partition in partitions
                for record in await _read(consumer, TopicPartition(topics.alerts, partition))
            ]
            suspects = _suspects(wanted, records, topics.alerts)
            places = {(one["partition"], one["offset"]) for one in suspects}
            found: dict[tuple[int, int, str], str | None] = {}
            for partition, offset in sorted(places):
                place = TopicPartition(topics.activations, partition)
                for record in await _read(consumer, place, offset, offset + 1):
                    found |= _traces(record, settings.max_message_bytes)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(
            f"the broker at {settings.bootstrap_servers} does not answer ({error!r}): check "
            "bootstrap_servers and the security settings"
        ) from error
    return [
        RequestTrace(
            one["request_id"],
            one["p_value"],
            found.get((one["partition"], one["offset"], one["request_id"])),
        )
        for one in suspects
    ]


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, first: int = 0, end: int | None = None
) -> list[Any]:
    """Records of a partition from one offset on, before another, as far as they are there."""
    consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    last = (await consumer.end_offsets([place]))[place]
    first, end = max(first, begin), last if end is None else min(end, last)
    records: list[Any] = []
    if first < end:
        consumer.seek(place, first)
        # compaction and transactions leave gaps: the position tells the end, not the count
        while await consumer.position(place) < end:
            for batch in (await consumer.getmany(place, timeout_ms=500)).values():
                records += [record for record in batch if record.offset < end]
    return records


def _suspects(wanted: str, records: Iterable[Any], topic: str) -> list[dict[str, Any]]:
    named = [(r.key.decode(errors="replace"), r.value) for r in records if r.key and r.value]
    found = {name: value for name, value in named if name.startswith(wanted)}
    if len(found) != 1 and wanted not in found:
        how_many = f"{len(found)} alerts that begin with" if found else "no alert"
        listed = ", ".join(sorted(found) or list(dict(named))[-5:]) or "none"
        raise TopicError(f"topic {topic!r} has {how_many} {wanted!r}; choose one of: {listed}")
    value = found[wanted] if wanted in found else next(iter(found.values()))
    try:
        suspects: list[dict[str, Any]] = orjson.loads(value)["data"]["most_suspicious"]
    except (ValueError, LookupError, TypeError) as error:
        raise TopicError(
            f"the record of {wanted!r} in {topic!r} is no alert ({error!r}): see who else writes "
            "into the topic"
        ) from error
    return suspects


def _traces(record: Any, max_message_bytes: int) -> dict[tuple[int, int, str], str | None]:
    try:
        batch = decode(record.value, record.headers, limits=Limits(value_bytes=max_message_bytes))
    except WireError:
        return {}  # it became a dead letter: no alert speaks of it
    return {
        (record.partition, record.offset, request_id): trace
        for request_id, trace in zip(batch.request_ids, batch.row_traceparents, strict=True)
    }
