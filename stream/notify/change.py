"""When to notify: once for each change of an alert's status or severity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.events import AlertEvent

__all__ = ["AlertReader", "AlertState", "Announced", "Notification", "alert_state"]


@dataclass(frozen=True, slots=True)
class AlertState:
    """One state of an alert, as published in the alerts topic.

    Parameters
    ----------
    event : AlertEvent
    data : mapping
        The data of the CloudEvent as published, which webhooks pass on unchanged.
    traceparent : str, optional
        W3C trace parent of the span that published it, if the worker has tracing enabled.
    """

    event: AlertEvent
    data: Mapping[str, Any]
    traceparent: str | None = None

    @property
    def moment(self) -> tuple[str, bool]:
        """Position in the alert's life; of two states at one time, the resolved one is later."""
        return self.event.last_seen_at, self.event.status == "resolved"


@dataclass(frozen=True, slots=True)
class Notification:
    """A change to report: the new state of an alert, and the one reported before it."""

    state: AlertState
    previous: AlertState | None = None

    @property
    def idempotency_key(self) -> str:
        """Identical for every delivery of one change, so that receivers can drop duplicates."""
        event = self.state.event
        return f"{event.id}/{event.status}/{event.severity}"


def alert_state(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
) -> AlertState | None:
    """The state in a record of the alerts topic; None for a tombstone.

    Raises
    ------
    EventError
        If the record is not a CloudEvent about an alert.

    Examples
    --------
    >>> alert_state(None) is None
    True
    """
    if value is None:
        return None
    event = AlertEvent.from_json(value)
    return AlertState(event, orjson.loads(value)["data"], traceparent_of(headers))


_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The trace parent in the headers of a record; None if it is missing or malformed."""
    raw = dict(headers).get("traceparent")
    return raw.decode() if raw is not None and _TRACEPARENT.fullmatch(raw) else None


class AlertReader:
    """Reads states from records of the alerts topic, and sets aside what it cannot read.

    A bad record is counted and logged with its offset, so that it never blocks the alerts after it.

    Parameters
    ----------
    log : structlog logger
    """

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self.set_aside = 0
        self._log = log

    def read(self, record: Any) -> AlertState | None:
        """The state in an ``aiokafka.ConsumerRecord``; None for tombstones and bad records."""
        try:
            return alert_state(record.value, record.headers)
        except EventError as error:
            self.set_aside += 1
            self._log.warning(
                "set aside a record that is not an alert: check who else writes to this topic",
                partition=record.partition,
                offset=record.offset,
                reason=str(error).splitlines()[0][:200],
                set_aside=self.set_aside,
            )
            return None


class Announced:
    """Tracks the latest state of each alert that one target has been notified of."""

    def __init__(self) -> None:
        self._latest: dict[str, AlertState] = {}

    def pending(self, state: AlertState) -> Notification | None:
        """The notification that a state calls for; None if it changes nothing.

        A confirmation changes nothing. Neither does a state older than the latest one: a worker
        that restarts may publish states again. The end of an alert whose beginning is unknown is
        reported, because somebody may have been notified of that beginning and be waiting.
        """
        previous = self._latest.get(state.event.id)
        if previous is None:
            return Notification(state)
        if state.moment < previous.moment:
            return None
        old, new = previous.event, state.event
        if (new.status, new.severity) == (old.status, old.severity):
            return None
        return Notification(state, previous)

    def add(self, state: AlertState) -> None:
        """Record that the target knows a state, unless it knows a newer one."""
        previous = self._latest.get(state.event.id)
        if previous is None or state.moment >= previous.moment:
            self._latest[state.event.id] = state if state.event.status == "firing" else _end(state)

    @property
    def firing(self) -> list[AlertState]:
        """Alerts that are firing, in the order in which they were first added."""
        return [state for state in self._latest.values() if state.event.status == "firing"]


def _end(state: AlertState) -> AlertState:
    """A resolved state without its details: it is never sent again."""
    return replace(state, event=replace(state.event, layers={}, most_suspicious=[]), data={})
