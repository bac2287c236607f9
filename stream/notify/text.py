"""Texts of a notification: a title, and a body in plain text or Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from latentwatch.stream.notify.change import AlertState, Notification

__all__ = ["EXTRACTION", "body", "is_about_client", "markdown", "summary", "title"]

EXTRACTION = "extraction"
"""The pattern of alerts about a client; all other alerts are about a window of requests."""

NAMED_REQUESTS = 5
"""Requests listed in a message; the alert itself lists more."""

_ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>"})


def title(notification: Notification) -> str:
    """One line: what happened to which model."""
    state, before = notification.state, notification.previous
    what = state.status
    if before is not None and before.status == state.status:
        what = f"now {state.severity}"
    return f"[{state.severity}] {model_name(state)}: {pattern(state)}, {what}"


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


def model_name(state: AlertState) -> str:
    """Model and version, such as ``resnet/7``."""
    return f"{one_line(state.data.get('model'))}/{one_line(state.data.get('version'))}"


def pattern(state: AlertState) -> str:
    """What kind of departure from the baseline the alert reports."""
    if is_about_client(state.data):
        # without the name: clients choose it, and a title has no way to quote it safely
        return "possible model extraction"
    named = one_line(state.data.get("pattern") or "unusual")
    return "data drift" if named == "drift" else f"{named} requests"


def is_about_client(data: Mapping[str, Any]) -> bool:
    """Whether an alert is about one client's queries rather than a window of requests."""
    return data.get("pattern") == EXTRACTION


def one_line(value: object) -> str:
    """A value as text, with line breaks and control characters replaced."""
    return "".join(c if c.isprintable() else " " for c in str(value))[:200]


def summary(data: Mapping[str, Any]) -> str:
    """Contamination of an alert's window, and its score against the threshold.

    Examples
    --------
    >>> data = {"contamination": 0.219, "contamination_lower_bound": 0.012, "score": 9.28}
    >>> summary(data | {"threshold": 7.47, "window": {"requests": 64}})
    '21.9% of 64 requests (at least 1.2%); score 9.28, threshold 7.47'
    """
    window = data.get("window") or {}
    return (
        f"{_share(data.get('contamination'))} of {window.get('requests', '?')} requests "
        f"(at least {_share(data.get('contamination_lower_bound'))}); "
        f"score {_number(data.get('score'))}, threshold {_number(data.get('threshold'))}"
    )


def client_name(data: Mapping[str, Any]) -> str:
    """The name that an alert's client uses."""
    return one_line(data.get("client") or "(unknown)")


def client_summary(data: Mapping[str, Any], literal: Callable[[str], str] = str) -> str:
    """The evidence against a client; `literal` escapes the client's name.

    Examples
    --------
    >>> window = {"requests": 180, "first_event_time": "2026-01-05T12:03:00.000000000Z"}
    >>> data = {"client": "u7", "score": 14212.8, "threshold": 10000.0, "window": window}
    >>> client_summary(data).partition(", 180")[0]
    'Client u7 appears to be extracting the model: evidence 14,213 (threshold 10,000)'
    """
    window = data.get("window") or {}
    evidence, threshold = _whole(data.get("score")), _whole(data.get("threshold"))
    return (
        f"Client {literal(client_name(data))} appears to be extracting the model: evidence "
        f"{evidence} (threshold {threshold}), {_whole(window.get('requests'))} queries since "
        f"{one_line(window.get('first_event_time', 'an unknown time'))}"
    )


def messages(data: Mapping[str, Any]) -> str:
    """Offsets of an alert's requests in the activations topic; empty if unknown.

    Examples
    --------
    >>> messages({"window": {"offsets": [{"partition": 0, "first": 25, "last": 93}]}})
    'partition 0, offsets 25 to 93'
    """
    places = (data.get("window") or {}).get("offsets") or []
    return "; ".join(
        f"partition {place.get('partition')}, offsets {place.get('first')} to {place.get('last')}"
        for place in places
    )


def suspects(state: AlertState) -> list[str]:
    """Ids of the most suspicious requests, the most suspicious first."""
    listed = state.data.get("most_suspicious") or []
    return [one_line(found.get("request_id")) for found in listed[:NAMED_REQUESTS]]


def _lines(
    notification: Notification, plain: Callable[[str], str], literal: Callable[[str], str]
) -> list[str]:
    state, before = notification.state, notification.previous
    lines = [
        plain(f"Model {model_name(state)}, partition {state.data.get('partition')}"),
        plain(f"Alert {state.id}: {state.status}, severity {state.severity}"),
        client_summary(state.data, literal)
        if is_about_client(state.data)
        else plain(f"Contamination: {summary(state.data)}"),
        plain(f"Fired at {state.data.get('fired_at')}, last seen at {state.last_seen_at}"),
    ]
    if before is not None:
        lines.append(plain(f"Previously: {before.status}, severity {before.severity}"))
    if named := suspects(state):
        lines.append("Most suspicious: " + ", ".join(literal(name) for name in named))
    if is_about_client(state.data):
        place = messages(state.data) or "the activations topic"
        lines.append(
            plain(f"Review the client's requests ({place}), then limit or block the client")
        )
    lines.append("Investigate: " + literal(f"latentwatch inspect {state.id[:12]}"))
    return [*lines, f"Idempotency key: {literal(notification.idempotency_key)}"]


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "an unknown share"


def _whole(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "unknown"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"
