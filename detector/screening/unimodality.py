"""Unimodality: a test of one-dimensional samples that every unimodal distribution passes.

Activations are skewed and heavy-tailed, so a Gaussian null finds outliers in every clean class.
This test only requires that the density does not rise again once it has fallen. The evidence of a
rise on an interval follows Dümbgen and Walther (2008): under a constant density the inner points
are uniform between the two ends, and under a falling density they lie further left. The uniform
distribution is therefore the worst case, and the null needs no fit.

References
----------
L. Dümbgen and G. Walther (2008), Multiscale inference about a density, Annals of Statistics 36.
J. A. Hartigan and P. M. Hartigan (1985), The dip test of unimodality, Annals of Statistics 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

LEAST_INNER = 4
"""Fewest points between the ends of an interval; three close ones mean nothing."""

LENGTH_STEP = 1.4
"""Ratio between successive lengths of intervals."""

MOST_POINTS = 1000
"""Largest simulated sample; the statistic hardly changes beyond."""

SIMULATED = 2000
TAIL = 0.1
"""Share of the simulated statistics to which the exponential tail is fitted."""

Evidence = tuple[int, Float64]
"""Inner points m of the intervals, and evidence [..., n - m - 1] of a rise on each."""


def _evidence(ordered: Float64) -> list[Evidence]:
    """Evidence of a rise (negative: of a fall) on intervals of every length, in standard units."""
    n = ordered.shape[-1]
    sums = np.cumsum(ordered, axis=-1)
    found, length = [], float(LEAST_INNER)
    while int(length) <= n - 2:
        inner = int(length)
        first, last = ordered[..., : n - inner - 1], ordered[..., inner + 1 :]
        total = sums[..., inner : n - 1] - sums[..., : n - inner - 1]
        width = np.maximum(last - first, np.finfo(float).tiny)
        slope = 2.0 * (total - inner * first) / width - inner
        found.append((inner, slope / np.sqrt(inner / 3.0)))
        length *= LENGTH_STEP
    return found


def _penalty(inner: int, n: int) -> float:
    """Penalty of short intervals, which are many and reach higher values by chance."""
    return float(np.sqrt(2.0 * np.log(np.e * n / (inner + 1))))


def statistic(ordered: Float64) -> Float64:
    """Evidence against a single mode in samples [..., n] in ascending order.

    Wherever the mode is placed, the density rises right of it or falls left of it by that much.
    """
    n = ordered.shape[-1]
    rise = np.full(ordered.shape, -np.inf)
    fall = np.full(ordered.shape, -np.inf)
    for inner, evidence in _evidence(ordered):
        penalty = _penalty(inner, n)
        starts, ends = rise[..., : n - inner - 1], fall[..., inner + 1 :]
        np.maximum(starts, evidence - penalty, out=starts)
        np.maximum(ends, -evidence - penalty, out=ends)
    right = np.maximum.accumulate(rise[..., ::-1], axis=-1)[..., ::-1]
    left = np.maximum.accumulate(fall, axis=-1)
    found: Float64 = np.maximum(right, left).min(axis=-1)
    return found


@dataclass(frozen=True, eq=False)
class UniformNull:
    """Statistics of uniform samples, by sample size."""

    simulated: dict[int, Float64]

    @classmethod
    def simulate(cls, sizes: list[int], rng: np.random.Generator) -> UniformNull:
        """Simulate samples of these sizes."""
        simulated = {}
        for n in sorted({_rounded(size) for size in sizes}):
            parts = [
                statistic(np.sort(rng.random((count, n)), axis=-1))
                for count in _portions(SIMULATED, max(1, 200_000 // n))
            ]
            simulated[n] = np.sort(np.concatenate(parts))
        return cls(simulated)

    def p_value(self, sample: Float64) -> float:
        """Probability of this much evidence under a single mode; the far tail is exponential."""
        null = self.simulated[_rounded(len(sample))]
        observed = float(statistic(np.sort(sample)))
        start = float(np.quantile(null, 1.0 - TAIL))
        if observed <= start:
            return float(np.mean(null >= observed))
        excess = float(np.mean(null[null > start] - start))
        return float(TAIL * np.exp(-(observed - start) / excess))


def _rounded(n: int) -> int:
    """The nearest half power of two, at most `MOST_POINTS`."""
    half_powers = round(2.0 * float(np.log2(n)))
    return min(MOST_POINTS, round(float(2.0 ** (half_powers / 2.0))))


def _portions(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def minor_mode(sample: Float64) -> NDArray[np.int64]:
    """Indices of the points of a sample beyond its valley, on the smaller side."""
    right, cut = _valley(np.sort(sample))
    left, mirrored = _valley(np.sort(-sample))
    return np.flatnonzero(sample > cut if right >= left else -sample > mirrored)


def _valley(ordered: Float64) -> tuple[float, float]:
    """The clearest rise in the upper half of a sample: its evidence, and where it starts."""
    n = len(ordered)
    best = (-np.inf, 0, n - 1)
    for inner, evidence in _evidence(ordered):
        upper = evidence[n // 2 :]
        if len(upper):
            start = int(np.argmax(upper))
            clear = float(upper[start]) - _penalty(inner, n)
            best = max(best, (clear, n // 2 + start, n // 2 + start + inner + 1))
    evidence_of_rise, first, last = best
    inside = ordered[first : last + 1]
    # where the empirical distribution is furthest below the uniform one
    below = (inside - inside[0]) / max(inside[-1] - inside[0], 1e-300)
    below -= np.linspace(0.0, 1.0, len(inside))
    return evidence_of_rise, float(inside[int(np.argmax(below))])
