"""Flagging: which requests are suspicious, how many are, and their shares in an alarm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from latentwatch.detector.errors import SketchError
from latentwatch.detector.features import GRID, Float64, Int16, Int64
from latentwatch.detector.sketch import TAIL_EDGES, Sketch
from latentwatch.detector.suspects import SUSPECT_LEVEL, Suspect

STOREY_LEVEL = 0.5
"""Level above which attacks hardly ever have p-values."""

CONFIDENCE = float(ndtri(0.95))
"""Standard errors of a one-sided 95 % bound."""


@dataclass(frozen=True, slots=True)
class Flagged:
    """Outcome of the Benjamini-Hochberg procedure on the requests of a sketch.

    Parameters
    ----------
    level : float
        Requests with a p-value of at most this are flagged; 0 if none is.
    count : int
        Exact number of flagged requests.
    requests : tuple of Suspect
        The flagged requests; fewer than `count` only beyond the sketch's limit.
    """

    level: float
    count: int
    requests: tuple[Suspect, ...]


def flag(sketch: Sketch, false_discovery_rate: float, baseline_rows: int) -> Flagged:
    """Flag requests so that at most a share `false_discovery_rate` of them is benign.

    The step-up procedure of Benjamini and Hochberg (1995) with the share of clean requests
    estimated (Storey 2002), on the levels of the histogram: the largest level t with
    ``n pi0 t' <= rate * #{p <= t}``, up to the level below which sketches keep ids.
    In a clean hour it flags almost nothing.

    p-values are ranks among `baseline_rows`, so their levels are right on average over baselines.
    For the one at hand, the share of clean requests below t is Beta distributed with standard
    deviation ``sqrt(t (1 - t) / baseline_rows)``. The procedure counts with t', its upper 95 %
    confidence bound (Bates et al. 2023, section 3: calibration-conditional p-values).
    """
    if not 0.0 < false_discovery_rate < 1.0:
        raise SketchError(
            f"false_discovery_rate must be above 0 and below 1, not {false_discovery_rate:g}"
        )
    if not sketch.judged or not len(sketch.lengths):
        return Flagged(0.0, 0, ())
    count = np.cumsum(sketch.histogram[0])
    clean = _clean_requests(sketch)
    error = np.sqrt(TAIL_EDGES * (1.0 - TAIL_EDGES) / baseline_rows)
    highest = TAIL_EDGES + CONFIDENCE * error
    passed = np.flatnonzero(
        (clean * highest <= false_discovery_rate * count) & (TAIL_EDGES <= SUSPECT_LEVEL)
    )
    if not len(passed):
        return Flagged(0.0, 0, ())
    level = float(TAIL_EDGES[passed[-1]])
    requests = tuple(s for s in sketch.suspects if s.p_value <= level)
    return Flagged(level, int(count[passed[-1]]), requests)


def _clean_requests(sketch: Sketch) -> float:
    """Upper estimate of the clean requests: those above the level, one added, scaled up."""
    below = int(np.cumsum(sketch.histogram[0])[np.searchsorted(TAIL_EDGES, STOREY_LEVEL)])
    return min(sketch.judged, (sketch.judged - below + 1) / (1.0 - STOREY_LEVEL))


@dataclass(frozen=True, slots=True)
class Contamination:
    """Share of adversarial requests: an estimate, and a bound it exceeds with 95 % confidence."""

    estimate: float
    lower_bound: float


def contamination(sketch: Sketch, baseline_rows: int, view: int = 0) -> Contamination:
    """Estimate the contaminated share from the p-values above one half (Storey 2002).

    Clean requests have uniform p-values, so the share above `STOREY_LEVEL` falls by the
    contaminated share. Attacks that look typical are not counted, so it is an underestimate.
    The bound allows for the finite number of baseline rows.
    """
    if not sketch.judged or not len(sketch.lengths):
        return Contamination(0.0, 0.0)
    below = int(np.cumsum(sketch.histogram[view])[np.searchsorted(TAIL_EDGES, STOREY_LEVEL)])
    estimate = 1.0 - (1.0 - below / sketch.judged) / (1.0 - STOREY_LEVEL)
    variance = (1.0 / sketch.judged + 1.0 / baseline_rows) * STOREY_LEVEL / (1.0 - STOREY_LEVEL)
    bound = estimate - CONFIDENCE * np.sqrt(variance)
    return Contamination(max(0.0, estimate), max(0.0, float(bound)))


def attribution(psi: Int16) -> Float64:
    """Exact share of each request in T.

    Parameters
    ----------
    psi : int16 [n, r]
        Residuals of a window in one view, in grid steps.

    Returns
    -------
    float64 [n]
        ``c_j = <psi_j, S - psi_j> / (n - 1)``, whose mean is T.
    """
    if len(psi) < 2:
        raise SketchError(f"shares in T need two requests or more, not {len(psi)}")
    exact: Int64 = psi.astype(np.int64)
    total = exact.sum(axis=0)
    inner = exact @ total - np.einsum("ij,ij->i", exact, exact)
    shares: Float64 = inner / (GRID**2 * (len(psi) - 1))
    return shares
