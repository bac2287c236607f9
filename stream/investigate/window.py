"""Find the exact requests of an alert's window, and evaluate them and their surroundings again.

An alert names the messages with the first and the last request and the number of requests, but the
window may begin or end within a message. So every possible run of requests is tried: only one gives
the statistics of the alert to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import Baseline, Decision, Features, Monitor, Sketch, decide
from latentwatch.detector.decision import LEAST_ROWS
from latentwatch.detector.features import BLOCK_ROWS, CHUNK_ROWS
from latentwatch.detector.rows import repeated, row_digests
from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.investigate.alert import WindowAlert
from latentwatch.stream.investigate.lane_rows import LaneRows

__all__ = ["Judged", "judge_again"]

TOLERANCE = 0.01
"""Relative difference of T and E that rounding on another processor may explain."""

LEAST_T = 0.01
"""Lower bound of the unit in which T is compared, since T is near zero on clean traffic."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An alert's window and its surroundings, evaluated again.

    Parameters
    ----------
    alert : WindowAlert
    baseline : Baseline
    rows : LaneRows
        All requests that were read, aligned to the blocks of the lane.
    features : Features
        Of the whole blocks of `rows`.
    decisions : tuple of Decision
        One per block of 32, in order.
    start : int
        Row of the window's first request.
    difference : float
        Largest relative difference of T and E from the alert's; 0 means equal to the last bit.
    """

    alert: WindowAlert
    baseline: Baseline
    rows: LaneRows
    features: Features
    decisions: tuple[Decision, ...]
    start: int
    difference: float

    @property
    def window(self) -> slice:
        """Rows of the window."""
        return slice(self.start, self.start + self.alert.requests)

    @property
    def before(self) -> slice:
        """Rows before the window."""
        return slice(0, self.start)

    @property
    def view(self) -> int:
        """Index of the deciding view with the highest score."""
        scores = [self.alert.statistics[view.name]["score"] for view in self.baseline.deciding]
        return int(np.argmax(scores))


def judge_again(rows: LaneRows, alert: WindowAlert, baseline: Baseline) -> Judged:
    """Find the window, and run a monitor over all rows with the alignment of the worker.

    Raises
    ------
    InvestigationError
        No run of requests gives the statistics of the alert.
    """
    start, place, difference = _find(rows, alert, baseline)
    # align to the worker's chunks if enough rows precede the window, otherwise to its blocks
    chunk = (start - place) % CHUNK_ROWS
    left_out = chunk if chunk <= start else start % BLOCK_ROWS
    aligned = rows.take(slice(left_out, None))
    monitor = Monitor(
        baseline, average_run_length=alert.average_run_length, partition=alert.partition
    )
    pushed = monitor.push(aligned.rows, aligned.predicted, aligned.requests)
    return Judged(
        alert,
        baseline,
        aligned,
        _joined([block.features for block, _ in pushed]),
        tuple(decision for _, decision in pushed),
        start - left_out,
        difference,
    )


def _find(rows: LaneRows, alert: WindowAlert, baseline: Baseline) -> tuple[int, int, float]:
    """First row of the window, its position in a chunk, and the difference of its statistics."""
    repeats = repeated(row_digests(rows.rows, rows.predicted), baseline.longest_window)
    nearest, least = (-1, 0), np.inf
    for start, place in product(_candidates(rows, alert), range(0, CHUNK_ROWS, BLOCK_ROWS)):
        window = slice(start, start + alert.requests)
        sketch = _sketch(rows.take(window), repeats[window], baseline, place)
        difference = _difference(sketch, alert, baseline)
        if difference < least:
            nearest, least = (start, place), difference
        if not difference:
            break
    if least > TOLERANCE:
        raise InvestigationError(
            f"the requests at offsets {alert.first_offset} to {alert.last_offset} of {alert.lane} "
            f"do not give the statistics of alert {alert.id}: they are not those that the worker "
            "read. Use the topic or the recording that the alert came from"
        )
    return *nearest, float(least)


def _candidates(rows: LaneRows, alert: WindowAlert) -> Iterator[int]:
    """First rows of runs with the alert's length, first and last message, and event times."""
    times = rows.requests.event_time_ns
    for start in np.flatnonzero(rows.offsets == alert.first_offset).tolist():
        end = start + alert.requests
        if end > len(rows) or rows.offsets[end - 1] != alert.last_offset:
            continue
        span = times[start:end]
        if (int(span.min()), int(span.max())) == (alert.first_ns, alert.last_ns):
            yield start


def _sketch(window: LaneRows, repeats: NDArray[np.bool_], baseline: Baseline, place: int) -> Sketch:
    features = baseline.features(window.rows, window.predicted, place).repeating(repeats)
    return baseline.sketch(features, window.requests)


def _difference(sketch: Sketch, alert: WindowAlert, baseline: Baseline) -> float:
    if sketch.judged < LEAST_ROWS:
        return float("inf")
    found = decide(sketch, baseline).views
    if set(found) != set(alert.statistics):
        return float("inf")
    differences = []
    for name, known in alert.statistics.items():
        differences.append(abs(found[name].T - known["T"]) / max(abs(known["T"]), LEAST_T))
        differences.append(abs(found[name].E - known["E"]) / known["E"])
    return max(differences)


def _joined(parts: list[Features]) -> Features:
    names = Features.__dataclass_fields__
    return Features(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})
