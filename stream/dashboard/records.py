"""Records of the output topics, validated: producers are not trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, Field

__all__ = [
    "ROLES",
    "Alert",
    "DeadLetter",
    "Flagged",
    "Layer",
    "Offsets",
    "Parsed",
    "Rate",
    "Suspect",
    "Window",
    "parse",
]

ROLES = ("alerts", "flagged_requests", "detection_rates", "dead_letter")
"""Roles of the topics that the dashboard reads, as named in `Topics`."""

HEAD_BYTES = 256
"""Of a dead letter's value: enough to recognise it without storing up to 16 MB."""

MOST_HEADERS = 32

Name = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Layer(BaseModel):
    """Statistics of one view of a window."""

    T: Number
    E: Number
    score: Number


class Suspect(BaseModel):
    """One request worth investigating."""

    request_id: Name
    p_value: Number
    energy: Number
    predicted_class: int
    event_time: Name
    partition: Count
    offset: Count
    input_ref: Annotated[str, Field(max_length=4000)] | None


class Offsets(BaseModel):
    """A range of messages in the activations topic, both ends included."""

    partition: Count
    first: Count
    last: Count


class Window(BaseModel):
    """The requests that an alert judged."""

    requests: Count
    first_event_time: Name
    last_event_time: Name
    offsets: list[Offsets]


class Alert(BaseModel):
    """One state of an alert; asyncapi.yaml documents each field."""

    id: Name
    status: Literal["firing", "resolved"]
    severity: Literal["warning", "critical"]
    model: Name
    version: Name
    partition: Count
    fired_at: Name
    last_seen_at: Name
    window: Window
    average_run_length: Number
    score: Number
    threshold: Number
    p_value: Number | None
    pattern: Name
    contamination: Number | None
    contamination_lower_bound: Number | None
    layers: dict[str, Layer]
    most_suspicious: list[Suspect]
    baseline_sha256: Name
    client: Name | None = None
    """Set if the alert is about the queries of one client."""
    atlas_technique: Name | None = None
    software_version: Name = ""


class Rate(BaseModel):
    """The result of one hour for one layer."""

    model: Name
    version: Name
    layer: Name
    hour: Name
    status: Name
    requests: Count
    unjudged: Count
    repeated: Count
    late: Count
    revision: Count
    flagged: Count
    detection_rate: Number
    windows: Count
    alarms: Count
    baseline_sha256: Name
    contamination: Number | None
    contamination_lower_bound: Number | None
    T: Number | None
    E: Number | None
    score: Number | None
    p_value: Number | None


class Flagged(Suspect):
    """A request that was flagged in its hour, or withdrawn later."""

    model: Name
    version: Name
    hour: Name
    status: Literal["flagged", "withdrawn"]


class DeadLetter(BaseModel):
    """A refused message: the reason, where it came from, and its first bytes."""

    place: Name
    reason: Name
    detail: str
    published: float
    size: int
    head: str
    headers: list[tuple[str, str]]


class Parsed(NamedTuple):
    """A record's content, and when it was published, in seconds since 1970."""

    content: Alert | Rate | Flagged | DeadLetter
    published: float


def parse(role: str, record: Any) -> Parsed | None:
    """The content of a record; None for a tombstone.

    Parameters
    ----------
    role : str
        One of `ROLES`.
    record : aiokafka.ConsumerRecord

    Raises
    ------
    ValueError
        If the record does not belong in the topic.
    """
    published = record.timestamp / 1000
    if role == "dead_letter":
        return Parsed(_dead_letter(record, published), published)
    if record.value is None:
        return None
    try:
        data = orjson.loads(record.value)["data"]
    except (orjson.JSONDecodeError, LookupError, TypeError) as error:
        raise ValueError(f"not a CloudEvent ({error!r})") from error
    return Parsed(_EVENTS[role](data), published)


_EVENTS: dict[str, Callable[[Any], Alert | Rate | Flagged]] = {
    "alerts": Alert.model_validate,
    "flagged_requests": Flagged.model_validate,
    "detection_rates": Rate.model_validate,
}


def _dead_letter(record: Any, published: float) -> DeadLetter:
    # of headers with the same name the last is ours: the refused message's own come first
    headers = {name: _text(value) for name, value in record.headers}
    place = f"{record.topic}/{record.partition}/{record.offset}"
    value = record.value or b""
    return DeadLetter(
        place=_text(record.key)[:1000] if record.key else place,
        reason=headers.get("latentwatch-reason", "unknown")[:100],
        detail=headers.get("latentwatch-detail", "")[:1000],
        published=published,
        size=len(value),
        head=_text(value[:HEAD_BYTES]),
        headers=[(name[:200], _text(value)[:200]) for name, value in record.headers[:MOST_HEADERS]],
    )


def _text(value: bytes | None) -> str:
    """Printable text; unprintable characters become dots."""
    text = (value or b"").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "·" for c in text)
