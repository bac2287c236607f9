"""The life of an alert: it fires, stays latched while the score is high, and resolves when calm."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from latentwatch import __version__
from latentwatch.detector import Baseline, Decision, Suspect
from latentwatch.stream.core.events import (
    ATLAS_TECHNIQUES,
    AlertEvent,
    AlertWindow,
    LayerScore,
    OffsetRange,
    SuspectRequest,
)
from latentwatch.stream.core.times import parse_timestamp, timestamp

__all__ = ["Alert", "AlertTracker", "Pattern", "Peak", "Severity", "Status", "suspect_request"]

Status = Literal["firing", "resolved"]
Severity = Literal["warning", "critical"]
Pattern = Literal["adversarial", "drift", "extraction"]

CRITICAL_SHARE = 0.1
"""Lower bound of the contaminated share from which an alert is critical."""

LISTED_SUSPECTS = 10
"""Most suspicious requests that an alert names; the flagged-requests topic has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The window with the highest score since an alert fired, or the queries of a client.

    Parameters
    ----------
    score, threshold, p_value, pattern, contamination, contamination_lower_bound, requests, layers,
    most_suspicious, baseline_sha256, client
        As in `AlertEvent`.
    offsets : list of (partition, first, last)
    event_time_ns : (first, last)
    """

    score: float
    threshold: float
    p_value: float | None
    pattern: Pattern
    contamination: float | None
    contamination_lower_bound: float | None
    requests: int
    offsets: list[tuple[int, int, int]]
    event_time_ns: tuple[int, int]
    layers: dict[str, LayerScore]
    most_suspicious: list[SuspectRequest]
    baseline_sha256: str
    client: str | None = None

    @classmethod
    def of(cls, decision: Decision, baseline: Baseline) -> Self:
        """The window that a decision judged."""
        sketch, share = decision.sketch, decision.contamination
        assert decision.threshold is not None  # or there would be no alarm
        return cls(
            score=decision.score,
            threshold=decision.threshold,
            p_value=decision.p_value,
            pattern=decision.pattern,
            contamination=share.estimate,
            contamination_lower_bound=share.lower_bound,
            requests=sketch.rows,
            offsets=[(p, first, last) for p, (first, last) in sorted(sketch.offsets.items())],
            event_time_ns=sketch.time_range or (0, 0),
            layers={name: LayerScore(v.T, v.E, v.score) for name, v in decision.views.items()},
            most_suspicious=[suspect_request(s) for s in sketch.suspects[:LISTED_SUSPECTS]],
            baseline_sha256=baseline.sha256,
        )

    @property
    def window(self) -> AlertWindow:
        """Its requests, as the event gives them."""
        first, last = map(timestamp, self.event_time_ns)
        return AlertWindow(self.requests, first, last, [OffsetRange(*x) for x in self.offsets])

    def to_state(self) -> dict[str, Any]:
        """Plain values for the lane's state, where suspects have their times as numbers."""
        state = asdict(self)
        for suspect in state["most_suspicious"]:
            suspect["event_time_ns"] = parse_timestamp(suspect.pop("event_time"))
        return state

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """Inverse of `to_state`, after a way through JSON."""
        suspects = [
            SuspectRequest(event_time=timestamp(values["event_time_ns"]), **rest)
            for values in state["most_suspicious"]
            for rest in [{name: v for name, v in values.items() if name != "event_time_ns"}]
        ]
        first, last = state["event_time_ns"]
        changes = {
            "offsets": [(p, start, end) for p, start, end in state["offsets"]],
            "event_time_ns": (first, last),
            "layers": {name: LayerScore(**v) for name, v in state["layers"].items()},
            "most_suspicious": suspects,
        }
        return cls(**(state | changes))


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
    peak : Peak
        The window with the highest score since the alert fired; for an alert about a client, their
        queries up to the newest alarm.
    """

    id: str
    status: Status
    first_offset: int
    first_event_time_ns: int
    last_event_time_ns: int
    peak: Peak

    @property
    def severity(self) -> Severity:
        """Critical when a tenth of the requests or more must be adversarial."""
        share = self.peak.contamination_lower_bound or 0.0
        return "critical" if share >= CRITICAL_SHARE else "warning"

    def to_state(self) -> dict[str, Any]:
        """Plain values for the lane's state."""
        return asdict(self) | {"peak": self.peak.to_state()}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """Inverse of `to_state`, after a way through JSON."""
        return cls(**(state | {"peak": Peak.of_state(state["peak"])}))

    def event(
        self, model: str, version: str, partition: int, average_run_length: float
    ) -> AlertEvent:
        """The event that publishes this state; the first three say whose alert it is."""
        peak = self.peak
        return AlertEvent(
            id=self.id,
            status=self.status,
            severity=self.severity,
            model=model,
            version=version,
            partition=partition,
            fired_at=timestamp(self.first_event_time_ns),
            fired_at_offset=self.first_offset,
            last_seen_at=timestamp(self.last_event_time_ns),
            window=peak.window,
            average_run_length=average_run_length,
            score=peak.score,
            threshold=peak.threshold,
            p_value=peak.p_value,
            pattern=peak.pattern,
            contamination=peak.contamination,
            contamination_lower_bound=peak.contamination_lower_bound,
            layers=peak.layers,
            most_suspicious=peak.most_suspicious,
            baseline_sha256=peak.baseline_sha256,
            client=peak.client,
            atlas_technique=ATLAS_TECHNIQUES.get(peak.pattern),
            software_version=__version__,
        )


class AlertTracker:
    """At most one alert of a lane.

    Parameters
    ----------
    about : str
        What identifies the lane: model, version and partition.
    resolve_after_requests : int
        Requests without an alarm after which the alert resolves.
    """

    def __init__(self, about: str, resolve_after_requests: int) -> None:
        self.about, self.resolve_after_requests = about, resolve_after_requests
        self.alert: Alert | None = None
        self._calm = 0
        self._since_emitted = 0

    def judge(self, decision: Decision, baseline: Baseline, rows: int) -> Alert | None:
        """Take a decision on a block of `rows` new requests; return the alert if it changed.

        A latched alert is emitted again after every `longest_window` requests.
        """
        if self.alert is None and not decision.alarm:
            return None
        newest = max(last for _, last in decision.sketch.offsets.values())
        moment = decision.sketch.time_range[1] if decision.sketch.time_range else 0
        if self.alert is None:
            peak = Peak.of(decision, baseline)
            name = f"{self.about}|{baseline.sha256}|{newest}|{moment}"
            identity = hashlib.sha256(name.encode()).hexdigest()[:32]
            self._calm = self._since_emitted = 0
            self.alert = Alert(identity, "firing", newest, moment, moment, peak)
            return self.alert
        self._calm = 0 if decision.alarm else self._calm + rows
        self._since_emitted += rows
        peak_score = self.alert.peak.score
        if decision.reaches(peak_score) and decision.score > peak_score:
            self.alert = replace(self.alert, peak=Peak.of(decision, baseline))
        self.alert = replace(self.alert, last_event_time_ns=moment)
        if self._calm >= self.resolve_after_requests:
            return self.resolve()
        if self._since_emitted >= baseline.longest_window:
            self._since_emitted = 0
            return self.alert
        return None

    def resolve(self) -> Alert | None:
        """End a firing alert, if there is one; return its last state."""
        alert, self.alert = self.alert, None
        return replace(alert, status="resolved") if alert else None

    def to_state(self) -> dict[str, Any]:
        """Plain values for the lane's state."""
        alert = self.alert.to_state() if self.alert else None
        return {"alert": alert, "calm": self._calm, "told": self._since_emitted}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `to_state` gave."""
        self.alert = Alert.of_state(state["alert"]) if state["alert"] else None
        self._calm, self._since_emitted = state["calm"], state["told"]


def suspect_request(suspect: Suspect) -> SuspectRequest:
    """A request worth looking at, as events give it."""
    return SuspectRequest(
        request_id=suspect.request_id,
        p_value=suspect.p_value,
        energy=-suspect.minus_squared_distance,
        predicted_class=suspect.predicted,
        partition=suspect.partition,
        offset=suspect.offset,
        input_ref=suspect.input_ref,
        event_time=timestamp(suspect.event_time_ns),
    )
