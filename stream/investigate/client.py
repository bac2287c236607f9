"""Evaluate the queries of a client again, as far back as the evidence about them reaches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import Baseline, Requests
from latentwatch.detector.clients.trace import Trace, trace
from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.investigate.alert import ClientAlert
from latentwatch.stream.investigate.lane_rows import LaneRows, MessageSource, bounds_with, read_back
from latentwatch.stream.recording import RecordedMessage

__all__ = ["JudgedClient", "judge_client"]

EARLIER = 256
"""Queries from before those that count; they contribute to the evidence as well."""


@dataclass(frozen=True, slots=True)
class JudgedClient:
    """A client's queries up to their latest alarm, and the requests of others meanwhile.

    Parameters
    ----------
    alert : ClientAlert
    baseline : Baseline
    rows : LaneRows
        The client's queries, including retries; the last one raised the alarm.
    trace : Trace
        Of `rows`.
    start : int
        The first query that counts.
    others : LaneRows
        Requests of other or unknown clients in the messages that were read.
    difference : float
        Relative difference between the recomputed evidence and the alert's.
    """

    alert: ClientAlert
    baseline: Baseline
    rows: LaneRows
    trace: Trace
    start: int
    others: LaneRows
    difference: float

    @property
    def judged(self) -> NDArray[np.int64]:
        """Rows int64 [k] of the queries that count, in order; without retries."""
        found = np.flatnonzero(~np.isnan(self.trace.p_values))
        return found[found >= self.start]


def judge_client(source: MessageSource, alert: ClientAlert, baseline: Baseline) -> JudgedClient:
    """Read the client's queries back and evaluate them again.

    Raises
    ------
    InvestigationError
        They are gone, or do not give enough evidence for an alarm.
    """
    begin, _ = bounds_with(source, alert)
    messages = [
        *read_back(source, alert.first_offset, begin, lambda m: _asked(alert, m) >= EARLIER),
        *source.read(alert.first_offset, alert.last_offset + 1),
    ]
    everything = LaneRows.of(messages, baseline)
    is_own = np.array([client == alert.client for client in everything.clients], dtype=np.bool_)
    rows = _picked(everything, np.flatnonzero(is_own))
    found = trace(baseline, rows.rows, rows.predicted, alert.threshold)
    end = _alarm(rows, found, alert)
    judged = np.flatnonzero(~np.isnan(found.p_values[: end + 1]))
    return JudgedClient(
        alert,
        baseline,
        rows.take(slice(end + 1)),
        Trace(found.p_values[: end + 1], found.evidence[: end + 1]),
        int(judged[-alert.requests :][0]),
        _picked(everything, np.flatnonzero(~is_own)),
        abs(float(found.evidence[end]) / alert.score - 1.0),
    )


def _asked(alert: ClientAlert, messages: Iterable[RecordedMessage]) -> int:
    return sum((message.batch.clients or []).count(alert.client) for message in messages)


def _alarm(rows: LaneRows, found: Trace, alert: ClientAlert) -> int:
    """The query of the alert's last message with the evidence that is nearest to the alert's.

    Strong evidence is clipped at its bound, so several queries may have the same; the time decides.
    """
    last = np.flatnonzero((rows.offsets == alert.last_offset) & ~np.isnan(found.p_values))
    reached = last[found.evidence[last] >= alert.threshold]
    if not len(reached):
        raise InvestigationError(
            f"the queries of the client of alert {alert.id} up to offset {alert.last_offset} of "
            f"{alert.lane} do not give the evidence of the alert: they are not those that the "
            "worker read. Use the topic or the recording that the alert came from"
        )
    off = np.abs(found.evidence[reached] / alert.score - 1.0)
    nearest = reached[off == off.min()]
    timely = nearest[rows.requests.event_time_ns[nearest] == alert.last_ns]
    return int((timely if len(timely) else nearest)[-1])


def _picked(rows: LaneRows, which: NDArray[np.int64]) -> LaneRows:
    own, chosen = rows.requests, which.tolist()
    return LaneRows(
        rows.rows[which],
        rows.predicted[which],
        Requests(
            tuple(own.request_ids[row] for row in chosen),
            own.event_time_ns[which],
            own.offsets[which],
            tuple(own.input_refs[row] for row in chosen),
            own.partition,
        ),
        tuple(rows.sources[row] for row in chosen),
        tuple(rows.clients[row] for row in chosen),
    )
