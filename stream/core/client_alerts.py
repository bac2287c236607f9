"""Alerts about clients who copy the model: one at a time for each client of a lane.

An alert fires at the query at which the client's evidence reaches the threshold. It is emitted
again while the client continues, and resolves when they have not reached the threshold for
`resolve_after_requests`; then their evidence is reset. Everything but the firing happens at the
end of a segment of the lane's rows, whatever the batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from latentwatch.detector import Baseline, Extraction, ExtractionMonitor, Requests
from latentwatch.detector.clients.extraction import SEGMENT_ROWS, segments
from latentwatch.detector.features import Float32, Int64
from latentwatch.stream.core.alerts import Alert, Peak
from latentwatch.stream.core.policy import Policy

__all__ = ["EXTRACTION", "AlertAtRow", "ClientAlertTracker"]


EXTRACTION: Final = "extraction"
"""The pattern of these alerts."""


class AlertAtRow(NamedTuple):
    """An alert that changed, and at which row of the call."""

    row: int
    alert: Alert


class ClientAlertTracker:
    """See the module.

    Parameters
    ----------
    about : str
        What identifies the lane: model, version and partition.
    baseline : Baseline
    policy : Policy
    """

    def __init__(self, about: str, baseline: Baseline, policy: Policy) -> None:
        self.about, self.baseline, self.resolve_after_requests = (
            about,
            baseline,
            policy.resolve_after_requests,
        )
        self.monitor = ExtractionMonitor(
            baseline, average_run_length=policy.average_run_length, lanes=policy.lanes
        )
        self._alerts: dict[str, Alert] = {}
        # row of the lane of each client's newest alarm
        self._alarmed: dict[str, int] = {}

    @property
    def firing(self) -> int:
        """Clients whose alert is firing."""
        return len(self._alerts)

    def take(
        self,
        rows: Float32,
        predicted: Int64,
        requests: Requests,
        clients: Sequence[str | None],
    ) -> list[AlertAtRow]:
        """Take checked rows in (see `Baseline.rows`); return the alerts that changed, in order."""
        changed: list[AlertAtRow] = []
        for part in segments(self.monitor.rows_seen, len(rows)):
            alarms = self.monitor.push(
                rows[part],
                predicted[part],
                clients[part],
                requests.offsets[part],
                requests.event_time_ns[part],
            )
            for alarm in alarms:
                row = part.start + alarm.row
                if (fired := self._alarm(alarm, row - part.stop, row, requests)) is not None:
                    changed.append(AlertAtRow(row, fired))
            if not self.monitor.rows_seen % SEGMENT_ROWS:
                changed += [AlertAtRow(part.stop - 1, alert) for alert in self._judge()]
        return changed

    def _alarm(self, alarm: Extraction, back: int, row: int, requests: Requests) -> Alert | None:
        """Take note of an alarm; an alert if it is the client's first."""
        offset, moment = int(requests.offsets[row]), int(requests.event_time_ns[row])
        self._alarmed[alarm.client] = self.monitor.rows_seen + back
        peak = self._peak(alarm, requests.partition, offset, moment)
        known = self._alerts.get(alarm.client)
        if known is None:
            name = f"{self.about}|{self.baseline.sha256}|{offset}|{moment}|{alarm.client}"
            identity = hashlib.sha256(name.encode()).hexdigest()[:32]
            alert = Alert(identity, "firing", offset, moment, moment, peak)
        else:
            alert = replace(known, last_event_time_ns=moment, peak=peak)
        self._alerts[alarm.client] = alert
        return alert if known is None else None

    def _judge(self) -> list[Alert]:
        """At the end of a segment: alerts that continue, and those that resolve."""
        seen, emitted = self.monitor.rows_seen, []
        for client, alarmed in list(self._alarmed.items()):
            if seen - alarmed > self.resolve_after_requests:
                del self._alarmed[client]
                self.monitor.acquit(client)
                emitted.append(replace(self._alerts.pop(client), status="resolved"))
            elif alarmed >= seen - SEGMENT_ROWS:
                emitted.append(self._alerts[client])
        return emitted

    @staticmethod
    def resolved(state: dict[str, Any]) -> list[Alert]:
        """The alerts of a `to_state` that no tracker continues, as resolved."""
        alerts = map(Alert.of_state, state["alerts"].values())
        return [replace(alert, status="resolved") for alert in alerts]

    def _peak(self, alarm: Extraction, partition: int, offset: int, moment: int) -> Peak:
        """The client's queries up to an alarm."""
        first = alarm.first_event_time_ns
        return Peak(
            score=alarm.evidence,
            threshold=self.monitor.threshold,
            p_value=None,
            pattern=EXTRACTION,
            contamination=None,
            contamination_lower_bound=None,
            requests=alarm.queries,
            offsets=[(partition, alarm.first_offset, offset)],
            event_time_ns=(min(moment, first), max(moment, first)),
            layers={},
            most_suspicious=[],
            baseline_sha256=self.baseline.sha256,
            client=alarm.client,
        )

    def to_state(self) -> dict[str, Any]:
        """Plain values for the lane's state, which also holds `monitor.state_bytes`."""
        return {
            "alerts": {client: alert.to_state() for client, alert in self._alerts.items()},
            "alarmed": self._alarmed,
        }

    def load(self, state: dict[str, Any], monitor: bytes) -> None:
        """Take over what `to_state` and the monitor's `state_bytes` gave.

        Raises
        ------
        SketchError
            The monitor's bytes are damaged, or of another baseline.
        """
        self.monitor.load_state(monitor)
        self._alerts = {
            client: Alert.of_state(values) for client, values in state["alerts"].items()
        }
        self._alarmed = dict(state["alarmed"])
