"""Traces: the evidence against one client query by query, for investigating an alert."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.clients.extraction import DISCOUNT, REMEMBERED, Retries
from latentwatch.detector.features import Float32, Float64, Int64
from latentwatch.detector.rows import row_digests

__all__ = ["Trace", "trace"]


class Trace(NamedTuple):
    """How `ExtractionMonitor` judges each query.

    Parameters
    ----------
    p_values : float64 [n]
        Rank of the query's distance to the client's earlier queries among the reference rows of its
        class; small means near. NaN for the first query and for retries, which are not judged.
    evidence : float64 [n]
        R after the query.
    """

    p_values: Float64
    evidence: Float64


def trace(baseline: Baseline, rows: Float32, predicted: Int64, threshold: float) -> Trace:
    """Judge all queries of one client, in their order.

    Parameters
    ----------
    baseline : Baseline
    rows : float32 [n, all columns]
        See `Baseline.rows`.
    predicted : int64 [n]
    threshold : float
        Threshold of the monitor; evidence above it does not count.
    """
    reference, retries = baseline.queries, Retries()
    fresh = np.array(
        [not retries.has(d) for d in row_digests(rows, predicted).tolist()], dtype=bool
    )
    points, groups = reference.points(rows[fresh]), baseline.group_of_class[predicted[fresh]]
    before = np.arange(len(points))[:, None] - 1 - np.arange(REMEMBERED)
    ranks = reference.ranks(points[1:], groups[1:], points, np.maximum(before, -1)[1:])
    wagers = DISCOUNT * reference.wagers()
    judged = np.flatnonzero(fresh)[1:]
    p_values, evidence = np.full(len(rows), np.nan), np.zeros(len(rows))
    p_values[judged] = ranks / len(wagers)
    factors = dict(zip(judged.tolist(), wagers[ranks - 1].tolist(), strict=True))
    grown = 0.0
    for row in range(len(rows)):
        if row in factors:
            grown = (1.0 + min(grown, threshold)) * factors[row]
        evidence[row] = grown
    return Trace(p_values, evidence)
