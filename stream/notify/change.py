"""When people are told: once for each change of an alert's status or severity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

__all__ = ["AlertState", "Book", "Notification", "alert_state", "changes"]


@dataclass(frozen=True, slots=True)
class AlertState:
    """One state of an alert, as the alerts topic has it.

    Parameters
    ----------
    id : str
    status : str
        ``"firing"`` or ``"resolved"``.
    severity : str
        ``"warning"`` or ``"critical"``.
    last_seen_at : str
        RFC 3339, UTC, nine digits of a second: the order of the text is the order of time.
    data : mapping
        The data of the CloudEvent.
    traceparent : str, optional
        W3C trace parent of the span that sent it, from a worker with traces.
    """

    id: str
    status: str
    severity: str
    last_seen_at: str
    data: Mapping[str, Any]
    traceparent: str | None = None

    @property
    def moment(self) -> tuple[str, bool]:
        """Place in the life of the alert; its end is the last of all at one time."""
        return self.last_seen_at, self.status == "resolved"


@dataclass(frozen=True, slots=True)
class Notification:
    """What people are told: the new state of an alert, and the one that they were told before."""

    state: AlertState
    previous: AlertState | None = None

    @property
    def idempotency_key(self) -> str:
        """The same for every delivery of one change: who gets it twice may drop the second."""
        return f"{self.state.id}/{self.state.status}/{self.state.severity}"


def alert_state(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
) -> AlertState | None:
    """The state that a record of the alerts topic holds; None for a deleted alert.

    Raises
    ------
    ValueError
        If the record is no CloudEvent of an alert.

    Examples
    --------
    >>> alert_state(None) is None
    True
    """
    if value is None:
        return None
    try:
        data = orjson.loads(value)["data"]
        id_, *fields = (data[name] for name in ("id", "status", "severity", "last_seen_at"))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"no event of an alert ({error!r})") from error
    if not all(isinstance(field, str) for field in (id_, *fields)):
        raise ValueError("no event of an alert: id, status, severity, last_seen_at must be text")
    status, severity, last_seen_at = fields
    trace = traceparent_of(headers)
    return AlertState(id_, status, severity, last_seen_at, data, trace)


_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The trace parent among the headers of a record; one that is malformed does not count."""
    raw = dict(headers).get("traceparent")
    return raw.decode() if raw is not None and _TRACEPARENT.fullmatch(raw) else None


def changes(previous: AlertState | None, state: AlertState) -> Notification | None:
    """What to tell of a state, given the newest one before it; None if there is nothing new.

    A confirmation tells nothing new. Neither does a state older than `previous`: a worker that
    starts again may publish once more what it had published before. The end of an alert whose
    beginning is not known is told: somebody was told of that beginning, and waits.
    """
    if previous is None:
        return Notification(state)
    if state.moment < previous.moment:
        return None
    if (state.status, state.severity) == (previous.status, previous.severity):
        return None
    return Notification(state, previous)


class Book:
    """The newest state by alert id that one target was told of."""

    def __init__(self) -> None:
        self._states: dict[str, AlertState] = {}

    def news(self, state: AlertState) -> Notification | None:
        """What there is to tell of a state; it is not entered yet."""
        return changes(self._states.get(state.id), state)

    def enter(self, state: AlertState) -> None:
        """Take a state as told, unless a newer one was."""
        previous = self._states.get(state.id)
        if previous is None or state.moment >= previous.moment:
            over = state.status != "firing"
            # of an alert that is over nothing more will be told: its id and its end are enough
            self._states[state.id] = replace(state, data={}) if over else state

    @property
    def firing(self) -> list[AlertState]:
        """Alerts that are firing, oldest entry first."""
        return [state for state in self._states.values() if state.status == "firing"]
