"""Commands to copy that look into an alert; whatever a producer named itself is quoted."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta

from latentwatch.stream.dashboard.records import Alert

__all__ = ["alert_commands"]


def alert_commands(alert: Alert, recording: str) -> dict[str, str]:
    """``inspect`` of an alert, and two ways to ``replay`` the hours that it lasted.

    Parameters
    ----------
    alert : Alert
    recording : str
        Folder or URL.
    """
    name = alert.id[:12]
    part = ["--model", alert.model, "--model-version", alert.version, *_hours(alert)]
    inspect = ["latentwatch", "inspect", name, "--out", f"./alert-{name}"]
    return {
        "inspect": shlex.join(inspect),
        "replay_offline": shlex.join(
            ["latentwatch", "replay", recording, *part, "--offline", "--out", f"./replayed-{name}"]
        ),
        "replay": shlex.join(
            ["latentwatch", "replay", recording, *part,
             "--topic-prefix", "replay.", "--speed", "max"]
        ),
    }  # fmt: skip


def _hours(alert: Alert) -> list[str]:
    """The whole hours that an alert touches: what came before it belongs to the picture."""
    try:
        first = datetime.fromisoformat(alert.window.first_event_time)
        last = max(first, datetime.fromisoformat(alert.last_seen_at))
    except (ValueError, TypeError):
        return []  # no time that one could name
    until = last + timedelta(hours=1)
    return ["--since", f"{first:%Y-%m-%dT%H}", "--until", f"{until:%Y-%m-%dT%H}"]
