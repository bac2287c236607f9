"""Texts of a notification: a title, and a body in plain text or Markdown."""

from __future__ import annotations

from collections.abc import Callable

from latentwatch.stream.core.events import AlertEvent
from latentwatch.stream.notify.change import Notification

__all__ = ["body", "markdown", "summary", "title"]

NAMED_REQUESTS = 5
"""Requests listed in a message; the alert itself lists more."""

_ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>"})


def title(notification: Notification) -> str:
    """One line: what happened to which model."""
    alert, before = notification.state.event, notification.previous
    what: str = alert.status
    if before is not None and before.event.status == alert.status:
        what = f"now {alert.severity}"
    return f"[{alert.severity}] {model_name(alert)}: {pattern(alert)}, {what}"


def body(notification: Notification) -> str:
    """The body in plain text."""
    return "\n".join(_lines(notification, lambda text: text, lambda text: text))


def markdown(notification: Notification) -> str:
    """The body in Markdown; names chosen by producers are escaped."""
    lines = _lines(notification, lambda text: text.translate(_ESCAPED), code)
    return "  \n".join(lines)


def code(text: str) -> str:
    """Inline code in Markdown; backticks in the text are replaced.

    Examples
    --------
    >>> code("a`b")
    "`a'b`"
    """
    return f"`{text.replace('`', chr(39))}`"


def model_name(alert: AlertEvent) -> str:
    """Model and version, such as ``resnet/7``."""
    return f"{one_line(alert.model)}/{one_line(alert.version)}"


def pattern(alert: AlertEvent) -> str:
    """What kind of departure from the baseline the alert reports."""
    if alert.about_client:
        # without the name: clients choose it, and a title has no way to quote it safely
        return "possible model extraction"
    return "data drift" if alert.pattern == "drift" else f"{alert.pattern} requests"


def one_line(text: str) -> str:
    """Text without line breaks, control characters and other unprintable characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def summary(alert: AlertEvent) -> str:
    """Contamination of an alert's window, and its score against the threshold."""
    return (
        f"{_share(alert.contamination)} of {alert.window.requests} requests "
        f"(at least {_share(alert.contamination_lower_bound)}); "
        f"score {alert.score:.4g}, threshold {alert.threshold:.4g}"
    )


def client_name(alert: AlertEvent) -> str:
    """The name that an alert's client uses."""
    return one_line(alert.client or "(unknown)")


def client_summary(alert: AlertEvent, literal: Callable[[str], str] = str) -> str:
    """The evidence against a client; `literal` escapes the client's name."""
    return (
        f"Client {literal(client_name(alert))} appears to be extracting the model: evidence "
        f"{alert.score:,.0f} (threshold {alert.threshold:,.0f}), {alert.window.requests:,} queries "
        f"since {alert.window.first_event_time}"
    )


def messages(alert: AlertEvent) -> str:
    """Offsets of an alert's requests in the activations topic."""
    return "; ".join(
        f"partition {place.partition}, offsets {place.first} to {place.last}"
        for place in alert.window.offsets
    )


def suspects(alert: AlertEvent) -> list[str]:
    """Ids of the most suspicious requests, the most suspicious first."""
    return [one_line(found.request_id) for found in alert.most_suspicious[:NAMED_REQUESTS]]


def _lines(
    notification: Notification, plain: Callable[[str], str], literal: Callable[[str], str]
) -> list[str]:
    alert, before = notification.state.event, notification.previous
    lines = [
        plain(f"Model {model_name(alert)}, partition {alert.partition}"),
        plain(f"Alert {alert.id}: {alert.status}, severity {alert.severity}"),
        client_summary(alert, literal)
        if alert.about_client
        else plain(f"Contamination: {summary(alert)}"),
        plain(f"Fired at {alert.fired_at}, last seen at {alert.last_seen_at}"),
    ]
    if before is not None:
        lines.append(plain(f"Previously: {before.event.status}, severity {before.event.severity}"))
    if named := suspects(alert):
        lines.append("Most suspicious: " + ", ".join(literal(name) for name in named))
    if alert.about_client:
        todo = f"Review the client's requests ({messages(alert)}), then limit or block the client"
        lines.append(plain(todo))
    lines.append("Investigate: " + literal(f"latentwatch inspect {alert.id[:12]}"))
    return [*lines, f"Idempotency key: {literal(notification.idempotency_key)}"]


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"
