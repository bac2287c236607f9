"""Spans of a worker, by OpenTelemetry; exported over OTLP as the OTEL_* variables say.

A batch of messages is a trace of its own, linked to the traces of its requests: a batch has many
parents, and a span has one. Names and attributes follow the semantic conventions of messaging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from latentwatch import __version__
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.processor import Incoming
from latentwatch.stream.service.traces.recent import RecentTraces
from latentwatch.stream.service.traces.untraced import BatchTrace, Traces
from latentwatch.stream.settings import Settings

__all__ = ["WorkerTraces"]

MOST_LINKS = 100
"""Links of one span; OpenTelemetry's own default is 128."""

SERVICE = {"service.name": "latentwatch-worker", "service.version": __version__}

_W3C = TraceContextTextMapPropagator()


class WorkerTraces(Traces):
    """Makes a span of each batch, of its steps, and of the alerts in it.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        own = Resource(SERVICE).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=Resource.create(own.attributes))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("latentwatch", __version__)
        self._topics, self._group = settings.topics(), settings.application_id
        self._recent = RecentTraces()

    @contextmanager
    def batch(self, messages: Sequence[Incoming]) -> Iterator[BatchTrace]:
        """Make a span that is linked to the traces of the requests."""
        self._recent.add(messages)
        with self._tracer.start_as_current_span(
            f"process {self._topics.activations}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=_message_links(messages),
            attributes={
                **_messaging("process", self._topics.activations),
                "messaging.consumer.group.name": self._group,
                "messaging.batch.message_count": len(messages),
                **_one_partition(messages),
                **_waiting(messages),
            },
        ):
            yield _WorkerBatch(self._tracer, self._topics.alerts, self._recent)

    def close(self) -> None:
        """Export what is left, for as long as OTEL_EXPORTER_OTLP_TIMEOUT allows."""
        self._provider.shutdown()


class _WorkerBatch(BatchTrace):
    def __init__(self, tracer: Tracer, alerts: str, recent: RecentTraces) -> None:
        self._tracer, self._alerts, self._recent = tracer, alerts, recent

    def deciding(self) -> AbstractContextManager[object]:
        return self._tracer.start_as_current_span("decide")

    @contextmanager
    def flushing(self, records: list[Record]) -> Iterator[list[Record]]:
        with ExitStack() as stack:
            stack.enter_context(self._tracer.start_as_current_span("flush"))
            yield [self._traced(record, stack) for record in records]

    def _traced(self, record: Record, stack: ExitStack) -> Record:
        """An alert with its span in a header: the value must be the same in a replay."""
        if record.topic != self._alerts or record.value is None:
            return record
        alert = orjson.loads(record.value)["data"]
        span = self._tracer.start_span(
            f"send {self._alerts}",
            kind=SpanKind.PRODUCER,
            links=self._suspect_links(alert["most_suspicious"]),
            attributes={
                **_messaging("send", self._alerts),
                "messaging.kafka.message.key": alert["id"],
                **{f"latentwatch.alert.{name}": alert[name] for name in _ATTRIBUTES if alert[name]},
            },
        )
        stack.callback(span.end)
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span, Context()))
        return record._replace(
            headers=[*record.headers, *((name, text.encode()) for name, text in carrier.items())]
        )

    def _suspect_links(self, suspects: Iterable[Mapping[str, Any]]) -> list[Link]:
        links = []
        for suspect in suspects:
            place = suspect["partition"], suspect["offset"]
            found = _span_context(self._recent.find(*place, suspect["request_id"]))
            if found is not None:
                attributes = {
                    f"latentwatch.{name}": suspect[name] for name in ("request_id", "p_value")
                }
                links.append(Link(found, {**attributes, "messaging.kafka.offset": place[1]}))
        return links


_ATTRIBUTES = ("id", "status", "severity", "model", "version", "pattern", "score", "threshold")


def _messaging(operation: str, topic: str) -> dict[str, Any]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }


def _one_partition(messages: Sequence[Incoming]) -> dict[str, Any]:
    partitions = {message.partition for message in messages}
    if len(partitions) != 1:
        return {}
    return {"messaging.destination.partition.id": str(partitions.pop())}


def _waiting(messages: Sequence[Incoming]) -> dict[str, Any]:
    """How long ago the oldest message was made, by the publisher's clock."""
    times = [time for message in messages if (time := _made_at(message)) is not None]
    if not times:
        return {}
    return {"latentwatch.oldest_message_seconds": (datetime.now(UTC) - min(times)).total_seconds()}


def _made_at(message: Incoming) -> datetime | None:
    try:
        time = datetime.fromisoformat(dict(message.headers)["ce_time"].decode())
    except (KeyError, ValueError, AttributeError):
        return None
    return time if time.tzinfo is not None else None


def _message_links(messages: Iterable[Incoming]) -> list[Link]:
    """One for each different trace parent, up to a bound, with the first message that brings it."""
    links: dict[str, Link] = {}
    for message in messages:
        for text in _texts(message):
            if text not in links and (found := _span_context(text)) is not None:
                attributes = {"messaging.kafka.offset": message.offset}
                links[text] = Link(found, attributes)
                if len(links) == MOST_LINKS:
                    return list(links.values())
    return list(links.values())


def _texts(message: Incoming) -> list[str]:
    headers = dict(message.headers)
    raw = headers.get("ce_traceparents") or headers.get("ce_traceparent") or b""
    return [text for text in raw.decode("ascii", "replace").split(",") if text]


def _span_context(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    context = _W3C.extract({"traceparent": traceparent}, Context())
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None
