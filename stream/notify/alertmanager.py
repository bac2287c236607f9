"""Payloads for Alertmanager: the alerts of version 2 of its API.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (postableAlerts)
"""

from __future__ import annotations

from typing import Any

from latentwatch.stream.core.events import AlertEvent
from latentwatch.stream.core.times import timestamp
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.text import (
    client_name,
    client_summary,
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
"""An alert stays valid for two intervals, so a late or lost resend does not resolve it."""


def firing_alert(state: AlertState, now: float, resend_seconds: float) -> dict[str, Any]:
    """An alert that expires two intervals after `now` unless it is sent again.

    Parameters
    ----------
    state : AlertState
    now : float
        Seconds since 1970.
    resend_seconds : float
        Interval at which it is sent again.
    """
    return _alert(state, state.event.severity, now + VALIDITY_IN_RESENDS * resend_seconds)


def changed_alerts(
    notification: Notification, now: float, resend_seconds: float
) -> list[dict[str, Any]]:
    """The alerts to post for a change.

    Alertmanager identifies an alert by its labels, and severity is a label because routes depend
    on it. When it changes, the alert with the old severity ends and a new one begins.
    """
    state, before = notification.state, notification.previous
    severity = state.event.severity
    posted = []
    if before is not None and before.event.severity != severity:
        posted.append(_alert(state, before.event.severity, now))
    firing = state.event.status == "firing"
    posted.append(
        firing_alert(state, now, resend_seconds) if firing else _alert(state, severity, now)
    )
    return posted


def _alert(state: AlertState, severity: str, ends: float) -> dict[str, Any]:
    alert = state.event
    # apart from the severity, labels never change in the life of an alert
    labels = {
        "alertname": ALERT_NAME,
        "alert_id": alert.id,
        "severity": severity,
        "model": one_line(alert.model),
        "version": one_line(alert.version),
        "partition": str(alert.partition),
    }
    if alert.about_client:
        # a window's pattern may change between confirmations, so only this one can be a label
        labels["pattern"] = alert.pattern
    annotations = {
        "summary": f"{model_name(alert)}: {pattern(alert)}",
        **(_client_annotations(alert) if alert.about_client else _window_annotations(alert)),
        "inspect": f"latentwatch inspect {alert.id[:12]}",
        "last_seen_at": alert.last_seen_at,
        "idempotency_key": f"{alert.id}/{alert.status}/{alert.severity}",
        "trace_id": state.traceparent.split("-")[1] if state.traceparent else "",
    }
    return {
        "labels": labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _begin(alert, ends),
        "endsAt": _rfc3339(ends),
    }


def _window_annotations(alert: AlertEvent) -> dict[str, str]:
    return {
        "description": summary(alert),
        "most_suspicious": ", ".join(suspects(alert)),
    }


def _client_annotations(alert: AlertEvent) -> dict[str, str]:
    # the name is never a label: clients choose it freely
    return {
        "description": client_summary(alert),
        "client": client_name(alert),
        "messages": messages(alert),
    }


def _begin(alert: AlertEvent, ends: float) -> str:
    """When it fired, but never after its end: event time may run ahead of the clock."""
    end = _rfc3339(ends)
    return min(alert.fired_at, end)


def _rfc3339(seconds: float) -> str:
    return timestamp(round(seconds * 1e6) * 1000)
