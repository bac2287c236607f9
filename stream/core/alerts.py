"""The life of an alert: it fires, stays latched while the score is high, and resolves when calm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

from latentwatch.detector import Baseline, Decision, Suspect

__all__ = ["Alert", "AlertTracker", "Severity", "Status"]

Status = Literal["firing", "resolved"]
Severity = Literal["warning", "critical"]

CRITICAL_SHARE = 0.1
"""Lower bound of the contaminated share from which an alert is critical."""

LISTED_SUSPECTS = 10
"""Most suspicious requests that an alert names; the flagged-requests topic has all."""


@dataclass(frozen=True, slots=True)
class Alert:
    """State of one alert, as published.

    Parameters
    ----------
    id : str
        Hash of what the alert is about; a re-delivered alert has the same.
    status : "firing" or "resolved"
    first_offset, first_event_time_ns : int
        Newest request of the window that fired.
    last_event_time_ns : int
        Newest request that was judged so far.
    peak : dict
        The window with the highest score since the alert fired, as plain values; of an alert about
        a client, his queries up to the newest alarm.
    """

    id: str
    status: Status
    first_offset: int
    first_event_time_ns: int
    last_event_time_ns: int
    peak: dict[str, Any]

    @property
    def severity(self) -> Severity:
        """Critical when a tenth of the requests or more must be adversarial."""
        share = self.peak["contamination_lower_bound"] or 0.0
        return "critical" if share >= CRITICAL_SHARE else "warning"

    def to_state(self) -> dict[str, Any]:
        """Plain values, from which the constructor makes the same alert."""
        return {name: getattr(self, name) for name in Alert.__dataclass_fields__}


class AlertTracker:
    """At most one alert of a lane.

    Parameters
    ----------
    about : str
        What tells this lane from others: model, version and partition.
    resolve_after_requests : int
        Requests without an alarm after which the alert resolves.
    """

    def __init__(self, about: str, resolve_after_requests: int) -> None:
        self.about, self.resolve_after_requests = about, resolve_after_requests
        self.alert: Alert | None = None
        self._calm = 0
        self._told = 0

    def judge(self, decision: Decision, baseline: Baseline, rows: int) -> Alert | None:
        """Take a decision on a block of `rows` new requests; return the alert if it changed.

        A latched alert is told again whenever a whole longest window has passed.
        """
        if self.alert is None and not decision.alarm:
            return None
        newest = max(last for _, last in decision.sketch.offsets.values())
        moment = decision.sketch.time_range[1] if decision.sketch.time_range else 0
        if self.alert is None:
            peak = describe(decision, baseline)
            name = f"{self.about}|{baseline.sha256}|{newest}|{moment}"
            identity = hashlib.sha256(name.encode()).hexdigest()[:32]
            self._calm = self._told = 0
            self.alert = Alert(identity, "firing", newest, moment, moment, peak)
            return self.alert
        self._calm = 0 if decision.alarm else self._calm + rows
        self._told += rows
        peak_score = self.alert.peak["score"]
        if decision.reaches(peak_score) and decision.score > peak_score:
            self.alert = replace(self.alert, peak=describe(decision, baseline))
        self.alert = replace(self.alert, last_event_time_ns=moment)
        if self._calm >= self.resolve_after_requests:
            return self.resolve()
        if self._told >= baseline.longest_window:
            self._told = 0
            return self.alert
        return None

    def resolve(self) -> Alert | None:
        """End a firing alert, if there is one; return its last state."""
        alert, self.alert = self.alert, None
        return replace(alert, status="resolved") if alert else None

    def to_state(self) -> dict[str, Any]:
        """Plain values for the lane's state."""
        alert = self.alert.to_state() if self.alert else None
        return {"alert": alert, "calm": self._calm, "told": self._told}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `to_state` gave."""
        self.alert = Alert(**state["alert"]) if state["alert"] else None
        self._calm, self._told = state["calm"], state["told"]


def describe(decision: Decision, baseline: Baseline) -> dict[str, Any]:
    """Plain values of a window, as alerts publish them."""
    sketch = decision.sketch
    return {
        "score": decision.score,
        "threshold": decision.threshold,
        "p_value": decision.p_value,
        "pattern": decision.pattern,
        "contamination": decision.contamination.estimate,
        "contamination_lower_bound": decision.contamination.lower_bound,
        "requests": sketch.rows,
        "offsets": [[p, first, last] for p, (first, last) in sorted(sketch.offsets.items())],
        "event_time_ns": list(sketch.time_range or (0, 0)),
        "layers": {
            name: {"T": v.T, "E": v.E, "score": v.score} for name, v in decision.views.items()
        },
        "most_suspicious": [suspect_values(s) for s in sketch.suspects[:LISTED_SUSPECTS]],
        "baseline_sha256": baseline.sha256,
        "client": None,
    }


def suspect_values(suspect: Suspect) -> dict[str, Any]:
    """Plain values of a request worth looking at."""
    return {
        "request_id": suspect.request_id,
        "p_value": suspect.p_value,
        "energy": -suspect.minus_squared_distance,
        "predicted_class": suspect.predicted,
        "event_time_ns": suspect.event_time_ns,
        "partition": suspect.partition,
        "offset": suspect.offset,
        "input_ref": suspect.input_ref,
    }
