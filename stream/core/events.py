"""What goes out: JSON CloudEvents 1.0 in structured mode, and dead letters as they came in.

Everything in an event follows from its input: the same records give the same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from latentwatch import __version__
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange
from latentwatch.stream.core.rates import HourReport
from latentwatch.stream.core.times import HOUR_NS, timestamp
from latentwatch.stream.core.topic_names import Topics

__all__ = ["Record", "alert_record", "dead_letter_record", "hour_part_record", "report_records"]

CONTENT_TYPE = ("content-type", b"application/cloudevents+json; charset=utf-8")

DEAD_LETTER_ROOM = 32 << 10
"""Bytes that a dead letter may have beyond the largest message: half of what its topic allows."""

CUT_BYTES = 1024
"""What is kept of a message that is too large for the dead-letter topic."""

ATLAS_TECHNIQUES = {"adversarial": "AML.T0043", "extraction": "AML.T0024.002"}
"""MITRE ATLAS, by the pattern of an alert: craft adversarial data; extract a model."""


class Record(NamedTuple):
    """One record to produce."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    route: bytes | None = None
    """What chooses the partition, where it is not the key."""


def _event(type_: str, source: str, id_: str, time_ns: int, data: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "type": f"io.latentwatch.{type_}.v1",
            "source": source,
            "id": id_,
            "time": timestamp(time_ns),
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def alert_record(topics: Topics, change: AlertChange, average_run_length: float) -> Record:
    """Alert that fired, was confirmed, or resolved; keyed by its id."""
    alert, key = change.alert, change.key
    peak = dict(alert.peak)
    first, last = peak.pop("event_time_ns")
    offsets = peak.pop("offsets")
    data = {
        "id": alert.id,
        "status": alert.status,
        "severity": alert.severity,
        "model": key.model,
        "version": key.version,
        "partition": key.partition,
        "fired_at": timestamp(alert.first_event_time_ns),
        "fired_at_offset": alert.first_offset,
        "last_seen_at": timestamp(alert.last_event_time_ns),
        "window": {
            "requests": peak.pop("requests"),
            "first_event_time": timestamp(first),
            "last_event_time": timestamp(last),
            "offsets": [{"partition": p, "first": start, "last": end} for p, start, end in offsets],
        },
        "average_run_length": average_run_length,
        **peak,
        "atlas_technique": ATLAS_TECHNIQUES.get(peak["pattern"]),
        "software_version": __version__,
    }
    data["most_suspicious"] = [_with_timestamp(s) for s in peak["most_suspicious"]]
    source = f"/latentwatch/{key.model}/{key.version}/{key.partition}"
    # the id of the event differs between states of one alert, and not between deliveries
    id_ = f"{alert.id}-{alert.status}-{alert.last_event_time_ns}"
    value = _event("alert", source, id_, alert.last_event_time_ns, data)
    return Record(topics.alerts, alert.id.encode(), value, [CONTENT_TYPE])


def hour_part_record(topics: Topics, part: HourPart) -> Record:
    """Internal record of what one lane saw of an hour; all of a model version go one way."""
    route = f"{part.model}/{part.version}".encode()
    return Record(topics.hour_sketches, part.key, part.to_bytes(), [], route)


def report_records(topics: Topics, report: HourReport) -> list[Record]:
    """Rates of an hour, one record a layer, and the requests that it flags anew or no longer."""
    source = f"/latentwatch/{report.model}/{report.version}"
    end = (report.hour + 1) * HOUR_NS
    records = []
    for row in report.rates:
        key = f"{report.model}/{report.version}/{row['layer']}/{row['hour']}"
        id_ = f"{key}/{report.revision}"
        value = _event("detection-rate", source, id_, end, row)
        records.append(Record(topics.detection_rates, key.encode(), value, [CONTENT_TYPE]))
    for request in report.flagged:
        key = f"{report.model}/{report.version}/{request['request_id']}"
        id_ = f"{key}/{request['partition']}/{request['offset']}/{request['status']}"
        value = _event("flagged-request", source, id_, end, _with_timestamp(request))
        records.append(Record(topics.flagged_requests, key.encode(), value, [CONTENT_TYPE]))
    return records


def _with_timestamp(suspect: dict[str, Any]) -> dict[str, Any]:
    values = dict(suspect)
    values["event_time"] = timestamp(values.pop("event_time_ns"))
    return values


def dead_letter_record(
    topics: Topics,
    *,
    partition: int,
    offset: int,
    value: bytes | None,
    key: bytes | None,
    headers: list[tuple[str, bytes]],
    reason: str,
    detail: str,
    most_bytes: int = 16 << 20,
) -> Record:
    """A message as it came, with headers that say why it is here and from where.

    Its key is its place in the input, so that a re-delivery can be told from a second message. Of a
    message of more than `most_bytes`, which compression hides from the broker, only the beginning
    of the value is kept: the broker would not take it, and the worker could never go on.
    """
    place = f"{topics.activations}/{partition}/{offset}"
    why = {
        "latentwatch-reason": reason,
        "latentwatch-detail": detail[:1000],
        "latentwatch-topic": topics.activations,
        "latentwatch-partition": str(partition),
        "latentwatch-offset": str(offset),
    }
    whole = len(key or b"") + len(value or b"") + sum(len(n) + len(v or b"") for n, v in headers)
    if whole > most_bytes + DEAD_LETTER_ROOM:
        why["latentwatch-cut"] = (
            f"of {whole} bytes, with {len(headers)} headers, {CUT_BYTES} are kept"
        )
        key, value, headers = None, (value or b"")[:CUT_BYTES], []
    original_key = [] if key is None else [("latentwatch-key", key)]
    told = [(name, text.encode("utf-8", "replace")) for name, text in why.items()]
    return Record(topics.dead_letter, place.encode(), value, [*headers, *told, *original_key])
