"""Compares what the workers published with the truth about the requests.

Rows of the truth are JSON objects, see `latentwatch.chaos.traffic`. A request is *bad* if an attack
or drift changed it, and *adversarial* if it was attacked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.chaos.experiment.outputs import Seen
from latentwatch.stream.core.client_alerts import EXTRACTION
from latentwatch.stream.core.outputs import Outputs
from latentwatch.stream.core.times import HOUR_NS, hour_name, parse_timestamp

__all__ = [
    "NEVER",
    "Truth",
    "attack_delays",
    "extraction",
    "false_alerts",
    "fired",
    "fired_about_clients",
    "flag_quality",
    "hour_rows",
    "hours_difference",
]

COPIER = "copier"
"""The client that extracts, as `latentwatch.chaos.traffic` names it; all others are honest."""

NEVER = "never"
"""Replaces a missing number: it fails every range, and the journal stays readable."""


@dataclass(frozen=True)
class Truth:
    """Requests that were published, in the order of event time; all arrays [N].

    Parameters
    ----------
    ids : list of str
    times, sent : int64
        Event time, and when the request was sent by the clock, in nanoseconds.
    stretch : int64
        Number of the stretch of traffic that a request belongs to.
    bad, adversarial : bool
    copied : bool
        Queries of the client that copies the classifier.
    """

    ids: list[str]
    times: NDArray[np.int64]
    sent: NDArray[np.int64]
    stretch: NDArray[np.int64]
    bad: NDArray[np.bool_]
    adversarial: NDArray[np.bool_]
    copied: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> Truth:
        """Build it from rows that name their ``stretch``."""
        kept = sorted((r for r in rows if r["published"]), key=lambda r: r["event_time_ns"])
        return cls(
            [row["request_id"] for row in kept],
            np.array([row["event_time_ns"] for row in kept], dtype=np.int64),
            np.array([row["sent_at_ns"] for row in kept], dtype=np.int64),
            np.array([row["stretch"] for row in kept], dtype=np.int64),
            np.array([row["kind"] != "benign" for row in kept], dtype=np.bool_),
            np.array([row["adversarial"] for row in kept], dtype=np.bool_),
            np.array([row["kind"] == EXTRACTION for row in kept], dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def place_of(self, alert: dict[str, Any]) -> int:
        """Return the index of the newest request when an alert fired."""
        at = parse_timestamp(alert["fired_at"])
        return int(np.searchsorted(self.times, at, side="right")) - 1

    def in_hours(self) -> dict[str, NDArray[np.int64]]:
        """Return the indices of the requests of each hour."""
        hours = self.times // HOUR_NS
        return {hour_name(int(hour)): np.flatnonzero(hours == hour) for hour in np.unique(hours)}


def fired(outputs: Outputs) -> list[dict[str, Any]]:
    """Return the latest state of each alert about a window, in the order in which they fired."""
    return [alert for alert in _fired(outputs) if alert["pattern"] != EXTRACTION]


def fired_about_clients(outputs: Outputs) -> list[dict[str, Any]]:
    """Return the latest state of each alert about a client, in the order in which they fired."""
    return [alert for alert in _fired(outputs) if alert["pattern"] == EXTRACTION]


def _fired(outputs: Outputs) -> list[dict[str, Any]]:
    return sorted(
        outputs.latest_alerts.values(), key=lambda alert: parse_timestamp(alert["fired_at"])
    )


def extraction(seen: Seen, truth: Truth) -> dict[str, Any]:
    """Count the copier's queries until an alert names it, and the alerts about other clients."""
    found = fired_about_clients(seen.outputs)
    named = [truth.place_of(alert) for alert in found if alert["client"] == COPIER]
    queries: int | str = NEVER if truth.copied.any() else 0
    if named:
        queries = int(truth.copied[: named[0] + 1].sum())
    return {"queries": queries, "others": len(found) - len(named)}


def attack_delays(seen: Seen, truth: Truth) -> list[dict[str, Any]]:
    """Measure the delay of the alert for each stretch with an attack; `NEVER` without an alert.

    The delay is ``requests`` since the first adversarial one, ``adversarial`` ones among them, and
    ``seconds`` by the clock, from sending that request to the alert in its topic. Queries of a
    copier do not count as an attack here: alerts about clients report them.
    """
    alerts = [(truth.place_of(alert), alert) for alert in fired(seen.outputs)]
    found = []
    for stretch in np.unique(truth.stretch[truth.adversarial & ~truth.copied]).tolist():
        own = np.flatnonzero(truth.stretch == stretch)
        start = int(own[truth.adversarial[own]][0])
        # the last block of a stretch may be judged with the first requests of the next one
        after = [(at, alert) for at, alert in alerts if start <= at <= own[-1] + 1]
        found.append({"stretch": stretch, **_delay(seen, truth, start, after)})
    return found


def _delay(seen: Seen, truth: Truth, start: int, after: list[Any]) -> dict[str, Any]:
    if not after:
        return {"requests": NEVER, "adversarial": NEVER, "seconds": NEVER}
    at, alert = after[0]
    seconds = seen.alert_at_ms[alert["id"]] / 1e3 - truth.sent[start] / 1e9
    return {
        "requests": at + 1 - start,
        "adversarial": int(truth.adversarial[start : at + 1].sum()),
        "seconds": round(max(0.0, float(seconds)), 3),
        "alert": alert["id"][:12],
    }


def false_alerts(seen: Seen, truth: Truth, window: int) -> list[str]:
    """Return the ids of alerts without a bad request among the last `window` requests."""
    found = []
    for alert in fired(seen.outputs):
        at = truth.place_of(alert)
        if not truth.bad[max(0, at + 1 - window) : at + 1].any():
            found.append(alert["id"])
    return found


def flag_quality(seen: Seen, truth: Truth) -> dict[str, Any]:
    """Measure precision and recall of the flagged requests; 1 if there is nothing to find."""
    ids = seen.outputs.flagged_ids
    flagged = np.array([name in ids for name in truth.ids], dtype=np.bool_)
    right = int((flagged & truth.adversarial).sum())
    named, attacked = int(flagged.sum()), int(truth.adversarial.sum())
    return {
        "flagged": named,
        "precision": round(right / named, 4) if named else 1.0,
        "recall": round(right / attacked, 4) if attacked else 1.0,
    }


def hours_difference(seen: Seen, truth: Truth) -> int:
    """Count requests missing from hours or counted too often, in the worst layer; 0 is exact."""
    counted = {
        (hour, layer): (seen.outputs.row(layer, hour) or {"requests": 0})["requests"]
        for hour in {*truth.in_hours(), *seen.outputs.hour_names}
        for layer in seen.outputs.layers
    }
    sent = {hour: len(rows) for hour, rows in truth.in_hours().items()}
    by_hour = {
        hour: max(abs(counted[hour, layer] - sent.get(hour, 0)) for layer in seen.outputs.layers)
        for hour, _ in counted
    }
    return sum(by_hour.values())


def hour_rows(seen: Seen, truth: Truth) -> list[dict[str, Any]]:
    """Return a row for each hour of the truth: what was sent, and the first layer's rates."""
    layer = seen.outputs.layers[0]
    found = []
    for hour, rows in truth.in_hours().items():
        rates = seen.outputs.row(layer, hour) or {}
        found.append(
            {
                "hour": hour,
                "sent": len(rows),
                "adversarial": int(truth.adversarial[rows].sum()),
                "drifted": int((truth.bad[rows] & ~truth.adversarial[rows]).sum()),
                **{name: rates.get(name) for name in RATE_FIELDS},
            }
        )
    return found


RATE_FIELDS = (
    "requests", "flagged", "detection_rate", "contamination", "contamination_lower_bound",
    "windows", "alarms", "late", "revision",
)  # fmt: skip
