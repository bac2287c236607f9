"""Records of the output topics as the history keeps them: events and short dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field

from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.events import AlertEvent, DeadLetter, FlaggedRequest, RateRow

__all__ = ["ROLES", "Event", "LetterSummary", "Parsed", "parse"]

ROLES = ("alerts", "flagged_requests", "detection_rates", "dead_letter")
"""Roles of the topics that the dashboard reads, as named in `Topics`."""

HEAD_BYTES = 256
"""Of a dead letter's value: enough to recognise it without storing up to 16 MB."""

MOST_HEADERS = 32


class LetterSummary(BaseModel):
    """A refused message: the reason, where it came from, and its first bytes."""

    place: Annotated[str, Field(max_length=1000)]
    reason: Annotated[str, Field(max_length=1000)]
    detail: str
    published: float
    size: int
    head: str
    headers: list[tuple[str, str]]


Event = AlertEvent | RateRow | FlaggedRequest


class Parsed(NamedTuple):
    """A record's content, and when it was published, in seconds since 1970."""

    content: Event | LetterSummary
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
    EventError
        If the record does not belong in the topic.
    """
    published = record.timestamp / 1000
    if role == "dead_letter":
        return Parsed(_summary(record, published), published)
    if record.value is None:
        return None
    return Parsed(_EVENTS[role](record.value), published)


_EVENTS: dict[str, Callable[[bytes], Event]] = {
    "alerts": AlertEvent.from_json,
    "flagged_requests": FlaggedRequest.from_json,
    "detection_rates": RateRow.from_json,
}


def _summary(record: Any, published: float) -> LetterSummary:
    try:
        letter = DeadLetter.from_record(record.key, record.value, record.headers)
        place, reason, detail = letter.place, letter.reason, letter.detail
    except EventError:
        # not written by a worker, but people should still see it
        place = f"{record.topic}/{record.partition}/{record.offset}"
        reason, detail = "unknown", ""
    value = record.value or b""
    return LetterSummary(
        place=_printable(place)[:1000],
        reason=_printable(reason)[:100],
        detail=_printable(detail)[:1000],
        published=published,
        size=len(value),
        head=_text(value[:HEAD_BYTES]),
        headers=[
            (_printable(name)[:200], _text(text)[:200])
            for name, text in record.headers[:MOST_HEADERS]
        ],
    )


def _text(value: bytes | None) -> str:
    return _printable((value or b"").decode("utf-8", "replace"))


def _printable(text: str) -> str:
    """Text in which unprintable characters are dots."""
    return "".join(c if c.isprintable() else "·" for c in text)
