"""What Alertmanager is sent: the alerts of its API, version 2.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (postableAlerts)
"""

from __future__ import annotations

from typing import Any

from latentwatch.stream.core.times import timestamp
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.text import (
    EXTRACTION,
    client_name,
    client_summary,
    is_about_client,
    messages,
    model_name,
    one_line,
    pattern,
    summary,
    suspects,
)

__all__ = ["changed_alerts", "firing_alert"]

ALERT_NAME = "LatentwatchAlert"

VALIDITY_IN_RESENDS = 2
"""An alert lives for two intervals: one that is late, or lost, does not resolve it."""


def firing_alert(state: AlertState, now: float, resend_seconds: float) -> dict[str, Any]:
    """An alert that Alertmanager keeps until `now` and twice the interval.

    Parameters
    ----------
    state : AlertState
    now : float
        Seconds since 1970.
    resend_seconds : float
        After so long it is sent again.
    """
    return _alert(state, state.severity, now + VALIDITY_IN_RESENDS * resend_seconds)


def changed_alerts(
    notification: Notification, now: float, resend_seconds: float
) -> list[dict[str, Any]]:
    """What to post for a change.

    Alertmanager knows an alert by its labels, and severity is one of them, since routes go by
    it: when it changes, the alert of the former severity ends and another one begins.
    """
    state, before = notification.state, notification.previous
    posted = []
    if before is not None and before.severity != state.severity:
        posted.append(_alert(state, before.severity, now))
    firing = state.status == "firing"
    posted.append(
        firing_alert(state, now, resend_seconds) if firing else _alert(state, state.severity, now)
    )
    return posted


def _alert(state: AlertState, severity: str, ends: float) -> dict[str, Any]:
    data = state.data
    # labels are what never changes in the life of an alert, and the severity
    labels = {
        "alertname": ALERT_NAME,
        "alert_id": state.id,
        "severity": severity,
        "model": one_line(data.get("model")),
        "version": one_line(data.get("version")),
        "partition": str(data.get("partition")),
    }
    if is_about_client(data):
        # the pattern of a window may change from one confirmation to the next, this one does not
        labels["pattern"] = EXTRACTION
    annotations = {
        "summary": f"{model_name(state)}: {pattern(state)}",
        **(_client_annotations(state) if is_about_client(data) else _window_annotations(state)),
        "inspect": f"latentwatch inspect {state.id[:12]}",
        "last_seen_at": state.last_seen_at,
        "idempotency_key": f"{state.id}/{state.status}/{state.severity}",
        "trace_id": state.traceparent.split("-")[1] if state.traceparent else "",
    }
    return {
        "labels": labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _begin(data, ends),
        "endsAt": _rfc3339(ends),
    }


def _window_annotations(state: AlertState) -> dict[str, str]:
    return {
        "description": summary(state.data),
        "most_suspicious": ", ".join(suspects(state)),
    }


def _client_annotations(state: AlertState) -> dict[str, str]:
    # who it is never becomes a label: clients may call themselves anything
    return {
        "description": client_summary(state.data),
        "client": client_name(state.data),
        "messages": messages(state.data),
    }


def _begin(data: Any, ends: float) -> str:
    """When it fired; before its end, for event time may run ahead of the clock."""
    end = _rfc3339(ends)
    return min(str(data.get("fired_at") or end), end)


def _rfc3339(seconds: float) -> str:
    return timestamp(round(seconds * 1e6) * 1000)
