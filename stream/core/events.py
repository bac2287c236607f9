"""The events that leave the worker, one frozen class each, written and read here alone.

==================  ======================  ================================================
class               topic                   key
==================  ======================  ================================================
`AlertEvent`        ``alerts``              id of the alert
`RateRow`           ``detection-rates``     model/version/layer/hour
`FlaggedRequest`    ``flagged-requests``    model/version/request id
`DeadLetter`        ``dead-letter``         input topic/partition/offset
==================  ======================  ================================================

The first three are JSON CloudEvents 1.0 in structured mode, and their fields are the members of
``data``, in that order. Everything in an event follows from the input: the same records give the
same bytes.

To write one, call ``event.to_record(topics)``. To read one, give the value of a record to
``from_json``, or the whole record to `DeadLetter.from_record`::

    alert = AlertEvent.from_json(record.value)
    alert.window.last_offset, alert.most_suspicious[0].request_id, alert.about_client

    row = RateRow.from_json(record.value)
    request = FlaggedRequest.from_json(record.value)
    letter = DeadLetter.from_record(record.key, record.value, record.headers)

A value of None (a tombstone) is not an event: check for it first. Whatever else is wrong raises
`EventError`, which names the event and the member. Unknown members are ignored, and members that
older versions did not write have a default. ``event.data()`` gives plain values, for templates
and databases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from latentwatch.stream.core.cloud_events import (
    CloudEvent,
    Count,
    Foreign,
    Number,
    Record,
    Reference,
    Text,
    Time,
)
from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.times import HOUR_NS, parse_timestamp
from latentwatch.stream.core.topic_names import Topics

__all__ = [
    "AlertEvent",
    "AlertWindow",
    "DeadLetter",
    "FlaggedRequest",
    "LayerScore",
    "OffsetRange",
    "RateRow",
    "Record",
    "SuspectRequest",
]

DEAD_LETTER_ROOM = 32 << 10
"""Bytes that a dead letter may have beyond the largest message: half of what its topic allows."""

CUT_BYTES = 1024
"""What is kept of a message that is too large for the dead-letter topic."""

ATLAS_TECHNIQUES = {"adversarial": "AML.T0043", "extraction": "AML.T0024.002"}
"""MITRE ATLAS, by the pattern of an alert: craft adversarial data; extract a model."""


@dataclass(frozen=True, slots=True)
class LayerScore:
    """Statistics of one layer (or other view) of a window."""

    T: Number
    E: Number
    score: Number


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Messages of the activations topic, both ends included."""

    partition: Count
    first: Count
    last: Count


@dataclass(frozen=True, slots=True)
class AlertWindow:
    """The requests that an alert is about: a window, or the queries of a client."""

    requests: Count
    first_event_time: Time
    last_event_time: Time
    offsets: Annotated[list[OffsetRange], Field(min_length=1)]

    @property
    def first_offset(self) -> int:
        """Smallest offset of the messages that brought the requests."""
        return min(place.first for place in self.offsets)

    @property
    def last_offset(self) -> int:
        """Largest offset of the messages that brought the requests."""
        return max(place.last for place in self.offsets)

    @property
    def first_ns(self) -> int:
        """Earliest event time, nanoseconds since 1970."""
        return parse_timestamp(self.first_event_time)

    @property
    def last_ns(self) -> int:
        """Latest event time, nanoseconds since 1970."""
        return parse_timestamp(self.last_event_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectRequest:
    """One of the most suspicious requests of an alert."""

    request_id: Foreign
    p_value: Number
    energy: Number
    predicted_class: int
    partition: Count
    offset: Count
    input_ref: Reference | None
    event_time: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent(CloudEvent):
    """One state of an alert; ``asyncapi.yaml`` says what each field means.

    Events of older versions lack `client`, `atlas_technique` and `software_version`.
    """

    KIND: ClassVar[str] = "alert"

    id: Text
    status: Literal["firing", "resolved"]
    severity: Literal["warning", "critical"]
    model: Text
    version: Text
    partition: Count
    fired_at: Time
    fired_at_offset: Count
    last_seen_at: Time
    window: AlertWindow
    average_run_length: Number
    score: Number
    threshold: Number
    p_value: Number | None
    pattern: Literal["adversarial", "drift", "extraction"]
    contamination: Number | None
    contamination_lower_bound: Number | None
    layers: dict[Text, LayerScore]
    most_suspicious: list[SuspectRequest]
    baseline_sha256: Text
    client: Foreign | None = None
    atlas_technique: Text | None = None
    software_version: Text = ""

    @property
    def about_client(self) -> bool:
        """Whether it is about the queries of one client, not about a window."""
        return self.pattern == "extraction"

    def to_record(self, topics: Topics) -> Record:
        """The record to publish.

        The id of the event differs between states of one alert, but not between deliveries.
        """
        last_ns = parse_timestamp(self.last_seen_at)
        return self.record(
            topics.alerts,
            self.id,
            source=f"/latentwatch/{self.model}/{self.version}/{self.partition}",
            id_=f"{self.id}-{self.status}-{last_ns}",
            time_ns=last_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow(CloudEvent):
    """Detection rate and statistics of one layer in one hour, over all partitions."""

    KIND: ClassVar[str] = "detection-rate"

    model: Text
    version: Text
    hour: Time
    requests: Count
    unjudged: Count
    repeated: Count
    late: Count
    revision: Count
    status: Literal["ok", "no-baseline", "other-baseline"]
    flagged: Count = 0
    detection_rate: Number = 0.0
    windows: Count = 0
    alarms: Count = 0
    baseline_sha256: Text = ""
    layer: Text = ""
    contamination: Number | None = None
    contamination_lower_bound: Number | None = None
    T: Number | None = None
    E: Number | None = None
    score: Number | None = None
    p_value: Number | None = None

    def to_record(self, topics: Topics) -> Record:
        """The record to publish."""
        key = f"{self.model}/{self.version}/{self.layer}/{self.hour}"
        return self.record(
            topics.detection_rates,
            key,
            source=f"/latentwatch/{self.model}/{self.version}",
            id_=f"{key}/{self.revision}",
            time_ns=parse_timestamp(self.hour) + HOUR_NS,
        )

    def data(self) -> dict[str, Any]:
        """The members of the event's data; rows without a baseline have their layer earlier."""
        values = asdict(self)
        if self.status == "ok":
            return values
        names = list(values)
        names.remove("layer")
        names.insert(names.index("status"), "layer")
        return {name: values[name] for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedRequest(CloudEvent):
    """A request that stands out of its hour, or one that no longer does (``"withdrawn"``)."""

    KIND: ClassVar[str] = "flagged-request"

    model: Text
    version: Text
    hour: Time
    status: Literal["flagged", "withdrawn"]
    request_id: Foreign
    p_value: Number
    energy: Number
    predicted_class: int
    partition: Count
    offset: Count
    input_ref: Reference | None
    event_time: Time

    def to_record(self, topics: Topics) -> Record:
        """The record to publish."""
        key = f"{self.model}/{self.version}/{self.request_id}"
        return self.record(
            topics.flagged_requests,
            key,
            source=f"/latentwatch/{self.model}/{self.version}",
            id_=f"{key}/{self.partition}/{self.offset}/{self.status}",
            time_ns=parse_timestamp(self.hour) + HOUR_NS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused message as it came, with the reason and its place in the input.

    Parameters
    ----------
    topic : str
        Input topic.
    partition, offset : int
        Where the message stands there.
    key, value : bytes or None
    headers : list of (str, bytes)
        The message's own.
    reason : str
        A short, stable word, see `processor.REFUSALS`.
    detail : str
        A sentence for people.
    cut : str
        How large the message was, if only its beginning is kept.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    reason: str
    detail: str
    cut: str = ""

    @property
    def place(self) -> str:
        """Topic, partition and offset: the key, the same for every delivery."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def to_record(self, topics: Topics, most_bytes: int = 16 << 20, *, cut: bool = False) -> Record:
        """The record to publish; our headers follow those of the message.

        Of a message of more than `most_bytes`, which compression hides from the broker, only the
        beginning of the value is kept, and its size and digest: otherwise the broker would refuse
        it, and the worker could not continue. With `cut` this is so for any message.
        """
        key, value, headers, note = self.key, self.value, self.headers, self.cut
        size = len(key or b"") + len(value or b"")
        size += sum(len(name) + len(text or b"") for name, text in headers)
        if cut or size > most_bytes + DEAD_LETTER_ROOM:
            digest = hashlib.sha256(value or b"").hexdigest()
            note = (
                f"of {size} bytes, with {len(headers)} headers, {CUT_BYTES} are kept; the value "
                f"had {len(value or b'')} bytes and SHA-256 {digest}"
            )
            key, value, headers = None, (value or b"")[:CUT_BYTES], []
        why = {
            "latentwatch-reason": self.reason,
            "latentwatch-detail": self.detail[:1000],
            "latentwatch-topic": self.topic,
            "latentwatch-partition": str(self.partition),
            "latentwatch-offset": str(self.offset),
            **({"latentwatch-cut": note} if note else {}),
        }
        ours = [(name, text.encode("utf-8", "replace")) for name, text in why.items()]
        if key is not None:
            ours.append(("latentwatch-key", key))
        return Record(topics.dead_letter, self.place.encode(), value, [*headers, *ours])

    @classmethod
    def from_record(
        cls,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]],
    ) -> DeadLetter:
        """Read a record of the dead-letter topic.

        Without our headers, its reason is "unknown" and all headers are the message's own.

        Raises
        ------
        EventError
            The key is not topic/partition/offset.
        """
        topic, _, place = (key or b"").decode("utf-8", "replace").partition("/")
        partition, _, offset = place.partition("/")
        if not (topic and _is_count(partition) and _is_count(offset)):
            raise EventError(
                f"invalid dead letter: its key is {(key or b'')[:100]!r}, not "
                "topic/partition/offset. Only workers may write to the dead-letter topic"
            )
        pairs = list(headers)
        # the message itself may bring headers of these names: ours are the last
        reasons = [n for n, (name, _) in enumerate(pairs) if name == "latentwatch-reason"]
        own = reasons[-1] if reasons else len(pairs)
        ours = dict(pairs[own:])

        def text(name: str, default: str = "") -> str:
            found = ours.get(f"latentwatch-{name}")
            return default if found is None else found.decode("utf-8", "replace")

        return cls(
            topic=topic,
            partition=int(partition),
            offset=int(offset),
            key=ours.get("latentwatch-key"),
            value=value,
            headers=pairs[:own],
            reason=text("reason", "unknown"),
            detail=text("detail"),
            cut=text("cut"),
        )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
