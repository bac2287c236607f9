"""Evaluation of run lengths over random splits of the benign rows.

How often a baseline alarms depends on how far its class means lie from those of the traffic, and
both are estimates. One baseline on one pool of clean rows may raise half the expected number of
alarms, or twice as many. Several splits show the average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.evaluation.runs import (
    Rows,
    RunLengthFigures,
    run_length_steps,
    run_lengths,
)
from latentwatch.detector.evaluation.sets import Labelled, fit_baseline, taken, together
from latentwatch.detector.evaluation.streams import RunLengthEstimate
from latentwatch.detector.features import Int64

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Splits:
    """Random splits of benign rows into a baseline and clean traffic; create them with `draw`.

    Parameters
    ----------
    benign : Labelled
        Pooled rows of "baseline" and "clean".
    parts : list of (int64 [N], int64 [n])
        Row numbers of the baseline, and of the clean traffic, of each split.
    fit : callable
        `fit_baseline`, or the same with other options.
    """

    benign: Labelled
    parts: list[tuple[Int64, Int64]]
    fit: Callable[..., Baseline] = fit_baseline

    @classmethod
    def draw(
        cls,
        baseline: Labelled,
        clean: Labelled,
        count: int,
        seed: int,
        fit: Callable[..., Baseline] = fit_baseline,
    ) -> Splits:
        """Divide the rows of two sets at random; each side keeps its size."""
        rng = np.random.default_rng([seed, 7])
        fitted, rows = len(baseline[1]), len(baseline[1]) + len(clean[1])
        orders = [rng.permutation(rows).astype(np.int64) for _ in range(count)]
        parts = [(order[:fitted], order[fitted:]) for order in orders]
        return cls(together(baseline, clean), parts, fit)

    def steps(self) -> int:
        """Ticks of `run_lengths`: one per fit, plus those of the streams."""
        predicted = self.benign[1]
        return sum(1 + run_length_steps(predicted[clean]) for _, clean in self.parts)

    def run_lengths(self, windows: int, seed: int, tick: Tick) -> RunLengthFigures:
        """Realised run lengths over all splits, see `pooled`; each has a seed of its own."""
        found = []
        for place, part in enumerate(self.parts):
            found.append(self._of(part, windows, seed + place, tick))
        return pooled(found)

    def _of(
        self, part: tuple[Int64, Int64], windows: int, seed: int, tick: Tick
    ) -> RunLengthFigures:
        fitted, clean = (taken(self.benign, places) for places in part)
        # the largest class may be so rare that only the clean rows have it
        baseline = self.fit(fitted, seed, classes=int(self.benign[1].max()) + 1)
        tick()
        raw = Rows(*baseline.rows(*clean))
        features = baseline.features(raw.rows, raw.predicted)
        return run_lengths(baseline, features, raw, windows, seed, tick)


def pooled(found: Sequence[RunLengthFigures]) -> RunLengthFigures:
    """All requests over all alarms: the mean of rates is unbiased, that of run lengths is not.

    The detail keeps every split under "splits". The sums have no interval, because splits
    differ by more than counts do by chance, and they share their rows.
    """
    arl: dict[str, dict[str, float | None]] = {}
    detail: dict[str, dict[str, dict[str, Any]]] = {}
    for target, kinds in found[0].arl.items():
        arl[target], detail[target] = {}, {}
        for kind in kinds:
            splits = [{"arl": one.arl[target][kind], **one.detail[target][kind]} for one in found]
            requests, alarms = (sum(one[key] for one in splits) for key in ("requests", "alarms"))
            arl[target][kind] = RunLengthEstimate(requests, alarms).value
            detail[target][kind] = {"requests": requests, "alarms": alarms, "splits": splits}
    return RunLengthFigures(arl, detail)
