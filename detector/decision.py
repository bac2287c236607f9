"""Decisions: pure functions of a sketch and a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from latentwatch.detector.errors import SketchError
from latentwatch.detector.features import GRID, Float64, Int64
from latentwatch.detector.flagging import Contamination, contamination
from latentwatch.detector.null import in_units, surprise
from latentwatch.detector.parts import BaselineParts
from latentwatch.detector.sketch import Sketch
from latentwatch.detector.view import View

Pattern = Literal["adversarial", "drift"]

LEAST_ROWS = 8
"""Fewest requests of a window."""

ESTIMATE_ERROR = 1e-6
"""Largest difference between a score computed for many windows at once and for one alone."""


@dataclass(frozen=True, slots=True)
class ViewStatistics:
    """Statistics of a window in one view.

    Parameters
    ----------
    T : float
        Unbiased squared MMD in the whitened space.
    E : float
        Mean squared Mahalanobis distance of the requests in the whitened space.
    z_mean_shift, z_distance, z_rank : float
        T, E and the rank statistic in standard deviations of clean traffic.
    score : float
        ``-log10`` of the tail probability of the largest of them.
    """

    T: float
    E: float
    z_mean_shift: float
    z_distance: float
    z_rank: float
    score: float


class Decision:
    """Whether the requests of one sketch match the baseline.

    Everything but the threshold is computed on first access: most windows of a stream are far below
    the threshold, and nothing more of them is ever needed.

    Parameters
    ----------
    parts : sequence of Sketch
        The window to judge, in parts that add up.
    baseline : BaselineParts
    threshold : float or None
        Score at which a monitor alarms; None for a one-off test.
    estimate : float, optional
        The score up to rounding, if it is known already.
    """

    def __init__(
        self,
        parts: Sequence[Sketch],
        baseline: BaselineParts,
        threshold: float | None,
        estimate: float | None = None,
    ) -> None:
        self._parts, self._baseline = parts, baseline
        self._estimate = estimate
        self.threshold = threshold

    def __repr__(self) -> str:
        return f"<Decision alarm={self.alarm} score={self.score:.3f} threshold={self.threshold}>"

    @cached_property
    def sketch(self) -> Sketch:
        """The window that was judged."""
        return sum(self._parts[1:], self._parts[0])

    @cached_property
    def views(self) -> Mapping[str, ViewStatistics]:
        """Statistics by view; the deciding views come first.

        Empty if hardly anything but repeats is left of the window.
        """
        if self.sketch.judged < LEAST_ROWS:
            return {}
        return {
            view.name: view_statistics(self.sketch, index, view)
            for index, view in enumerate(self._baseline.views)
        }

    @cached_property
    def score(self) -> float:
        """Highest score among the deciding views."""
        views = self.views
        return max(views[view.name].score for view in self._baseline.deciding) if views else 0.0

    def reaches(self, score: float) -> bool:
        """Whether the score is at least this high; cheap when it is much lower."""
        if self._estimate is not None and self._estimate < score - ESTIMATE_ERROR:
            return False
        return self.score >= score

    @property
    def alarm(self) -> bool:
        """Whether the score reached the threshold."""
        return self.threshold is not None and self.reaches(self.threshold)

    @cached_property
    def p_value(self) -> float:
        """P-value of the score for a single window of this size; never 0."""
        if not self.views:
            return 1.0
        return self._baseline.calibration.p_value(self.sketch.judged, self.score)

    @cached_property
    def contamination(self) -> Contamination:
        """Estimated share of adversarial requests."""
        if not self.views:
            return Contamination(0.0, 0.0)
        return contamination(self.sketch, self._baseline.fitted_rows)

    @cached_property
    def pattern(self) -> Pattern:
        """The likelier kind of shift, given that there is one; see `name_pattern`."""
        return name_pattern(self._baseline, self.views) if self.views else "adversarial"


def decide(sketch: Sketch, baseline: BaselineParts, *, threshold: float | None = None) -> Decision:
    """Judge the requests of a sketch; `SketchError` for fewer than ``LEAST_ROWS`` distinct ones."""
    shape = (baseline.groups, baseline.width, len(baseline.views))
    if sketch.judged < LEAST_ROWS or sketch.shape != shape:
        raise SketchError(
            f"a sketch of {sketch.judged} requests and shape {sketch.shape} cannot be judged: give "
            f"one of this baseline, of shape {shape}, with {LEAST_ROWS} requests or more"
        )
    return Decision([sketch], baseline, threshold)


def view_statistics(sketch: Sketch, index: int, view: View) -> ViewStatistics:
    """Statistics of a sketch in the view at `index`."""
    n = sketch.judged
    residual_sum = sketch.sums[view.slice]
    length = int(sketch.lengths[index])
    T = (squared_norm(residual_sum) - length) / (GRID**2 * n * (n - 1))
    E = length / (GRID**2 * n)
    z = view.null.z_scores(
        np.array([float(n)]),
        sketch.group_counts[None].astype(np.float64),
        np.array([T]),
        np.array([E]),
        np.cumsum(sketch.histogram[index])[None].astype(np.float64),
    )
    z_mean_shift, z_distance, z_rank = (float(value) for value in z[0])
    return ViewStatistics(T, E, z_mean_shift, z_distance, z_rank, float(surprise(z)[0]))


def squared_norm(values: Int64) -> int:
    """Exact ``sum values**2`` for numbers of any size."""
    largest = int(np.abs(values).max(initial=0))
    if largest * largest * len(values) < 2**62:
        return int(values @ values)
    return sum(v * v for v in values.tolist())


def window_scores(
    group_counts: Int64, sums: Int64, lengths: Int64, histograms: Int64, view: View
) -> Float64:
    """Scores [K] of K rolling windows at once in one view: the monitor's hot path.

    Windows of fewer than ``LEAST_ROWS`` distinct requests score minus infinity.

    Parameters
    ----------
    group_counts : int64 [K, G]
    sums : int64 [K, r]
        Small enough that their squares sum to less than 2**63, as in windows of 512 rows.
    lengths : int64 [K]
    histograms : int64 [K, len(TAIL_EDGES)]
    """
    judged = group_counts.sum(axis=1)
    scores = np.full(len(judged), -np.inf)
    enough = np.flatnonzero(judged >= LEAST_ROWS)
    n = judged[enough].astype(np.float64)
    squares = np.einsum("ij,ij->i", sums[enough], sums[enough])
    z = view.null.z_scores(
        n,
        group_counts[enough].astype(np.float64),
        in_units(squares - lengths[enough]) / (n * (n - 1)),
        in_units(lengths[enough]) / n,
        np.cumsum(histograms[enough], axis=-1).astype(np.float64),
    )
    scores[enough] = surprise(z)
    return scores


def name_pattern(baseline: BaselineParts, views: Mapping[str, ViewStatistics]) -> Pattern:
    """Adversarial inputs disturb deep layers and leave early ones alone; drift shows early."""
    first, last = baseline.layer_names[0], baseline.layer_names[-1]
    if first == last:
        return "adversarial"
    early, deep = (max(views[n].z_mean_shift, abs(views[n].z_distance)) for n in (first, last))
    return "drift" if early > deep else "adversarial"
