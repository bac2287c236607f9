"""The same windows for several methods: which of them each method rejects at the same level.

The input is arrays as for `detector.evaluate`. Other methods have one kernel and one array per
window, so they get the chosen layers concatenated, with each column standardised by its mean and
standard deviation on the baseline. latentwatch gets the layers as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.decision import decide
from latentwatch.detector.errors import ActivationsError
from latentwatch.detector.evaluation.measures import MIXTURES
from latentwatch.detector.evaluation.sets import (
    SIMULATED_REQUESTS,
    fit_baseline,
    is_drift,
    split_sets,
)
from latentwatch.detector.features import Float32, Float64, Int64
from latentwatch.detector.sketch import Features
from latentwatch.lab.peers.ladis import Ladis

Rows = tuple[Mapping[str, ArrayLike], ArrayLike]
"""Activations [n, d] by layer, and predicted classes [n]."""

Tick = Callable[[], None]

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one kind.

    Parameters
    ----------
    set : str
        The attack, or "clean".
    size : int
        Requests of a window.
    share : float
        Share of attack requests; 0 for clean windows.
    rows : int64 [windows, size]
        Row numbers in a `Comparison`: clean requests first, none twice in a window.
    """

    set: str
    size: int
    share: float
    rows: Int64

    @property
    def name(self) -> str:
        """Key of the figures: "100" for clean windows, "100@0.2" for others."""
        return f"{self.size}@{self.share}" if self.share else str(self.size)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A fitted baseline, and the rows from which windows are drawn; create one with `fit`.

    Parameters
    ----------
    baseline : Baseline
    reference : float32 [N, d]
        The baseline rows in the form for other methods.
    reference_predicted : int64 [N]
    rows : float32 [R, d]
        Clean rows, then those of each attack, in the form for other methods.
    predicted : int64 [R]
    features : Features
        The same R rows in the form for latentwatch.
    counts : dict of set to rows
        In the order of `rows`: "clean", then the attacks.
    """

    baseline: Baseline
    reference: Float32
    reference_predicted: Int64
    rows: Float32
    predicted: Int64
    features: Features
    counts: dict[str, int]

    @classmethod
    def fit(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        layers: Sequence[str] | None = None,
        attacks: Sequence[str] | None = None,
        seed: int = 0,
        simulated_requests: int = SIMULATED_REQUESTS,
    ) -> Comparison:
        """Fit on ``baseline`` as `detector.evaluate` does.

        Parameters
        ----------
        arrays : mapping of "<set>.<layer>" to array [n, d], and "<set>.predicted" to int [n]
        layers : sequence of str, optional
            All by default.
        attacks : sequence of str, optional
            Sets on which to measure power; by default all except clean traffic and drift.

        Raises
        ------
        ActivationsError
            A set or layer is missing or too small.
        """
        sets = split_sets(arrays, layers)
        names = ["baseline", CLEAN, *chosen_attacks(sets, attacks)]
        _check_counts({name: len(sets[name][1]) for name in names[1:]})
        baseline = fit_baseline(sets["baseline"], seed, simulated_requests=simulated_requests)
        return cls.of(baseline, {name: sets[name] for name in names})

    @classmethod
    def of(cls, baseline: Baseline, sets: Mapping[str, Rows]) -> Comparison:
        """Create a comparison with an existing baseline.

        Parameters
        ----------
        sets : mapping of set to activations by layer, and predicted classes
            "baseline", the rows it was fitted on; then "clean" and the attacks.
        """
        kept = baseline.layout.kept
        parts = {name: baseline.rows(*rows) for name, rows in sets.items()}
        reference, reference_predicted = parts.pop("baseline")
        raw = np.concatenate([rows for rows, _ in parts.values()])
        predicted = np.concatenate([classes for _, classes in parts.values()])
        mean, spread = reference[:, kept].mean(axis=0), reference[:, kept].std(axis=0)
        return cls(
            baseline,
            (reference[:, kept] - mean) / spread,
            reference_predicted,
            (raw[:, kept] - mean) / spread,
            predicted,
            baseline.features(raw, predicted),
            {name: len(classes) for name, (_, classes) in parts.items()},
        )

    @property
    def attacks(self) -> list[str]:
        """Sets on which power is measured."""
        return [name for name in self.counts if name != CLEAN]

    def windows(self, count: int, seed: int = 0) -> list[Windows]:
        """Draw `count` windows of every kind: clean ones of each size, then mixtures by attack."""
        rng = np.random.default_rng([seed, 7])
        sizes = sorted({size for size, _ in MIXTURES})
        clean = [self._draw(CLEAN, size, 0.0, count, rng) for size in sizes]
        return clean + [
            self._draw(attack, size, share, count, rng)
            for attack in self.attacks
            for size, share in MIXTURES
        ]

    def _draw(
        self, name: str, size: int, share: float, count: int, rng: np.random.Generator
    ) -> Windows:
        names = list(self.counts)
        first = sum(self.counts[other] for other in names[: names.index(name)])
        bad = round(size * share)
        drawn = [
            np.concatenate(
                [
                    rng.choice(self.counts[CLEAN], size - bad, replace=False),
                    first + rng.choice(self.counts[name], bad, replace=False),
                ]
            )
            for _ in range(count)
        ]
        return Windows(name, size, share, np.array(drawn, dtype=np.int64))

    def reference_rows(self, most: int, seed: int = 0) -> Float32:
        """A random choice of at most `most` rows of the baseline."""
        rng = np.random.default_rng([seed, 8])
        return self.reference[rng.permutation(len(self.reference))[:most]]

    def p_values(self, windows: Windows, tick: Tick | None = None) -> Float64:
        """P-values [windows] of latentwatch."""
        found = np.empty(len(windows.rows))
        for number, rows in enumerate(windows.rows):
            sketch = self.baseline.sketch(self.features.take(rows))
            found[number] = decide(sketch, self.baseline).p_value
            if tick is not None:
                tick()
        return found

    def ladis(
        self, windows: Windows, ladis: Ladis, rng: np.random.Generator, tick: Tick | None = None
    ) -> Float64:
        """P-values [windows] of the original procedure."""
        found = np.empty(len(windows.rows))
        for number, rows in enumerate(windows.rows):
            found[number] = ladis.p_value(self.rows[rows], self.predicted[rows], rng)
            if tick is not None:
                tick()
        return found


def rates(p_values: ArrayLike, alpha: float) -> float:
    """Share of windows with a p-value of at most alpha."""
    return float(np.mean(np.asarray(p_values) <= alpha))


def figures(windows: Sequence[Windows], rejected: Sequence[float]) -> dict[str, Any]:
    """Arrange the share of rejected windows of each kind as ``false_alarm`` and ``power``.

    Returns
    -------
    dict
        "false_alarm" by window size, "power" by attack and then by mixture.
    """
    false_alarm: dict[str, float] = {}
    power: dict[str, dict[str, float]] = {}
    for one, rate in zip(windows, rejected, strict=True):
        by_name = false_alarm if one.set == CLEAN else power.setdefault(one.set, {})
        by_name[one.name] = rate
    return {"false_alarm": false_alarm, "power": power}


def chosen_attacks(sets: Mapping[str, object], attacks: Sequence[str] | None) -> list[str]:
    """Checked names of the sets on which to measure power."""
    available = [name for name in sets if name not in ("baseline", CLEAN)]
    if attacks is None:
        return [name for name in available if not is_drift(name)]
    for name in attacks:
        if name not in available:
            raise ActivationsError(
                f"the set {name!r} is not an attack in this file; "
                f"choose among {', '.join(available) or 'none'}"
            )
    return list(attacks)


def _check_counts(counts: Mapping[str, int]) -> None:
    """Refuse sets that are too small before the slow fit."""
    for name, count in counts.items():
        needed = max(size if name == CLEAN else round(size * share) for size, share in MIXTURES)
        if count < needed:
            raise ActivationsError(
                f"the set {name!r} has {count} rows; windows of these mixtures need {needed}"
            )
