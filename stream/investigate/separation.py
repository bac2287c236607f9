"""Which layers to capture: how well each separates two recordings, and how stable it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from latentwatch.detector import Baseline, ConstantFeaturesError, decide
from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.recording import Recording

__all__ = ["WINDOW", "LayerReport", "Separation", "advise", "separate"]

WINDOW = 64
"""Requests per window, about as many as it takes to detect an attack."""

ALPHA = 0.01
"""Windows with a p-value of at most this count as detected, or as drifted."""

MOST_FITTED = 4_000
"""Rows that a layer's baseline is fitted on; more take time and change little."""

MOST_WINDOWS = 200
"""Windows of each kind that are evaluated."""

LEAST_CLEAN = 512
"""Fewest clean requests: half of them fit a baseline, the others are evaluated."""

FEATURES = 256
"""Fourier features, as many as explaining views have."""

SIMULATED = 100_000
"""Clean requests in the simulation of window p-values."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """How well one layer separates.

    Parameters
    ----------
    layer : str
    depth : int
        Position in the order in which the service sent the layers, from 0.
    width : int
    auroc : float
        Probability that a request of the attack looks less typical than a clean one.
    score : float
        Median score of windows of attack requests; ``-log10`` of a tail probability.
    power : float
        Share of these windows with p-values of at most 0.01.
    drift : float
        The same share for windows of the clean recording's later half; about 0.01 is stable.
    """

    layer: str
    depth: int
    width: int
    auroc: float
    score: float
    power: float
    drift: float


@dataclass(frozen=True, slots=True)
class Separation:
    """Layers, best separation first, and those that could not be evaluated.

    Parameters
    ----------
    layers : tuple of LayerReport
    constant : tuple of str
        Layers that never vary in the clean recording.
    clean_rows, attack_rows : int
        Requests of each recording.
    """

    layers: tuple[LayerReport, ...]
    constant: tuple[str, ...]
    clean_rows: int
    attack_rows: int

    @property
    def by_depth(self) -> tuple[LayerReport, ...]:
        """The earliest layer first."""
        return tuple(sorted(self.layers, key=lambda report: report.depth))


def separate(
    clean: Recording,
    attack: Recording,
    layers: dict[str, int],
    *,
    seed: int = 0,
    tell: Callable[[str], None] = lambda layer: None,
) -> Separation:
    """Fit a baseline per layer on the earlier half of `clean`, and evaluate the rest with it.

    Parameters
    ----------
    clean, attack : Recording
        Each of one model version.
    layers : dict of str to int
        Widths by name, in the order of depth.
    seed : int
    tell : callable
        Called with the name of each layer before it is evaluated.

    Raises
    ------
    InvestigationError
        Too few requests.
    """
    counts = len(clean.predicted()), len(attack.predicted())
    for recording, count, least in ((clean, counts[0], LEAST_CLEAN), (attack, counts[1], WINDOW)):
        if count < least:
            raise InvestigationError(
                f"{recording.url} has {count} requests in the selection, and {least} are needed: "
                "record more, or select a longer time"
            )
    found, constant = [], []
    for depth, layer in enumerate(layers):
        tell(layer)
        try:
            found.append(_judge(clean, attack, layer, depth, seed))
        except ConstantFeaturesError:
            constant.append(layer)
    found.sort(key=lambda report: (-report.score, -report.auroc))
    return Separation(tuple(found), tuple(constant), *counts)


def _judge(clean: Recording, attack: Recording, layer: str, depth: int, seed: int) -> LayerReport:
    values, attacked = clean.array(layer), attack.array(layer)
    classes, attacked_classes = clean.predicted(), attack.predicted()
    half = len(values) // 2
    fitted = np.linspace(0, half - 1, min(half, MOST_FITTED)).astype(np.int64)
    baseline = Baseline.fit(
        {layer: values[fitted]},
        classes[fitted],
        model=clean.only_model()[0],
        version=clean.only_model()[1],
        seed=seed,
        classes=int(max(classes.max(), attacked_classes.max())) + 1,
        longest_window=WINDOW,
        random_features=min(FEATURES, len(fitted) // 3 // 2 * 2),
        simulated_requests=SIMULATED,
        drop_constant=True,
        rare_classes="pool",
    )
    later = _Judged.of(baseline, layer, values[half:], classes[half:])
    seen = _Judged.of(baseline, layer, attacked, attacked_classes)
    return LayerReport(
        layer=layer,
        depth=depth,
        width=values.shape[1],
        auroc=auroc(seen.suspicion, later.suspicion),
        score=float(np.median(seen.scores)),
        power=float(np.mean(seen.p_values <= ALPHA)),
        drift=float(np.mean(later.p_values <= ALPHA)),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Suspicion float64 [n] of single requests; scores and p-values float64 [k] of windows."""

    suspicion: Array
    scores: Array
    p_values: Array

    @classmethod
    def of(cls, baseline: Baseline, layer: str, values: Array, classes: Array) -> _Judged:
        starts = range(0, len(values) - WINDOW + 1, WINDOW)
        chosen = np.linspace(0, len(starts) - 1, min(len(starts), MOST_WINDOWS)).astype(np.int64)
        suspicion, scores, p_values = [], [], []
        for start in (starts[i] for i in chosen):
            rows = slice(start, start + WINDOW)
            features = baseline.features(*baseline.rows({layer: values[rows]}, classes[rows]))
            decision = decide(baseline.sketch(features), baseline)
            scores.append(decision.score)
            p_values.append(decision.p_value)
            suspicion.append(1.0 - features.p_values[:, 0])
        return cls(np.concatenate(suspicion), np.array(scores), np.array(p_values))


def auroc(positive: Array, negative: Array) -> float:
    """Probability that a value of the first is larger than one of the second; ties count half."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def advise(separation: Separation) -> list[str]:
    """Layers to capture, by depth: an early one that attacks leave alone, and one or two deep ones.

    The early one separates drift from attacks; it is the most stable of the first half. The deep
    ones are the best two of the other half, the second only if it detects half of the windows.
    """
    depth = separation.by_depth
    middle = len(depth) // 2
    early = min(depth[:middle], key=lambda r: (r.power + r.drift, r.score), default=None)
    deep = [report for report in separation.layers if report in depth[middle:]]
    chosen = [*([early] if early else []), *deep[:1], *(r for r in deep[1:2] if r.power >= 0.5)]
    return [report.layer for report in sorted(chosen, key=lambda report: report.depth)]
