"""Finds the traces of an alert's requests in Kafka; OpenTelemetry is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from latentwatch.producers.wire import Limits, WireError, decode
from latentwatch.stream.core.errors import BrokerError, TopicError
from latentwatch.stream.kafka.reader import (
    latest_by_key,
    open_consumer,
    read_spans,
    read_topic,
    spans_of,
)
from latentwatch.stream.settings import Settings

__all__ = ["RequestTrace", "request_traces"]


class RequestTrace(NamedTuple):
    """One of the most suspicious requests of an alert, and its trace.

    `traceparent` is None if the request came without one, or if its message is gone.
    """

    request_id: str
    p_value: float
    traceparent: str | None

    @property
    def trace_id(self) -> str | None:
        """The part of the trace parent that tracing tools search for."""
        return self.traceparent.split("-")[1] if self.traceparent else None


async def request_traces(settings: Settings, wanted: str) -> list[RequestTrace]:
    """The most suspicious requests of an alert, worst first, with their traces.

    Parameters
    ----------
    settings : Settings
    wanted : str
        Id of the alert, or enough of its beginning to be unique.

    Raises
    ------
    BrokerError
        No broker answers.
    TopicError
        There is no alerts topic, no such alert, or several whose ids begin like that.
    """
    topics = settings.topics()
    found: dict[tuple[int, int, str], str | None] = {}
    try:
        alerts = await latest_by_key(read_topic(settings, topics.alerts))
        suspects = _suspects(wanted, alerts, topics.alerts)
        async with open_consumer(
            settings, max_partition_fetch_bytes=settings.max_message_bytes
        ) as consumer:
            for partition, offset in sorted({(s["partition"], s["offset"]) for s in suspects}):
                place = TopicPartition(topics.activations, partition)
                first, end = (await spans_of(consumer, [place]))[place]
                span = (max(first, offset), min(end, offset + 1))
                async for record in read_spans(consumer, {place: span}):
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


def _suspects(wanted: str, alerts: Mapping[bytes, Any], topic: str) -> list[dict[str, Any]]:
    named = {key.decode(errors="replace"): record.value for key, record in alerts.items()}
    found = {name: value for name, value in named.items() if name.startswith(wanted)}
    if len(found) != 1 and wanted not in found:
        how_many = f"{len(found)} alerts that begin with" if found else "no alert"
        listed = ", ".join(sorted(found) or list(named)[-5:]) or "none"
        raise TopicError(f"topic {topic!r} has {how_many} {wanted!r}; choose one of: {listed}")
    value = found[wanted] if wanted in found else next(iter(found.values()))
    try:
        suspects: list[dict[str, Any]] = orjson.loads(value)["data"]["most_suspicious"]
    except (ValueError, LookupError, TypeError) as error:
        raise TopicError(
            f"the record of {wanted!r} in {topic!r} is not an alert ({error!r}): check what else "
            "writes into the topic"
        ) from error
    return suspects


def _traces(record: Any, max_message_bytes: int) -> dict[tuple[int, int, str], str | None]:
    try:
        batch = decode(record.value, record.headers, limits=Limits(value_bytes=max_message_bytes))
    except WireError:
        return {}  # the worker refused it, so no alert refers to it
    return {
        (record.partition, record.offset, request_id): trace
        for request_id, trace in zip(batch.request_ids, batch.row_traceparents, strict=True)
    }
