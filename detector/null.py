"""The null model of a view: the distribution of the statistics on clean traffic.

Two statistics of a sketch, and a third from its histogram of typicality p-values:

    T = (||S||^2 - q) / (n (n - 1))   unbiased squared MMD in the whitened space (Gretton et al.
                                      2012, lemma 6): has the mean embedding moved?
    E = q / n                         mean squared Mahalanobis distance: are single requests off
                                      the data's manifold?
    R                                 excess of small p-values, at the best of several levels
                                      (after the higher criticism of Donoho and Jin 2004)

Each is turned into a z-score: centred and scaled by moments of the baseline rows, each left out of
the feature map in turn (`latentwatch.detector.leave_out`), and bent to a normal distribution by the
Wilson-Hilferty cube root with the statistic's own skewness. The z-scores need not be exact, because
thresholds are calibrated by simulation (`detector.calibration`); the moments only make statistics
comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from latentwatch.detector.features import GRID, Float64, Int64
from latentwatch.detector.leave_out import LeftOut
from latentwatch.detector.sketch import TAIL_EDGES

STATISTICS = ("T", "E", "R")

LEAST_EXPECTED = 1.5
"""Fewest expected p-values below a level for the rank statistic to use it."""

PAIRED_ROWS = 4000
"""Rows from which the variance of T is estimated, using every pair."""

TRIPLED_ROWS = 1600
"""The same for the skewness, whose cost grows with the cube of the rows."""

PAIR_FACTORS = 8
"""Rank of the table of ``E k^2`` by pairs of classes, so that it need not be stored in full."""

FACTOR_STEPS = 20
"""Steps of the iteration that finds the factors."""

PRIOR_PAIRS = 500
"""Weight of the mean over all classes, in pairs of rows, against a class's own pairs."""

PRIOR_ROWS = 50
"""The same in rows, for the variance of a class's squared distances."""

PRIOR_EXPECTED = 5.0
"""The same in expected p-values, for the share of a class's p-values below a level."""

_LOG10 = np.log(10.0)


@dataclass(frozen=True, slots=True)
class Typicality:
    """Ranks the squared distance of a request among the baseline rows (a conformal p-value).

    The logarithm of the squared distance is standardised within the class group, then ranked among
    the baseline rows of all groups. This is finer than a rank within one class, which could never
    be smaller than one over its rows.

    Parameters
    ----------
    centre, spread : float64 [G]
        Mean and standard deviation of the log squared distance in each class group.
    reference : float64 [N]
        Standardised log squared distances of the baseline rows, ascending.
    """

    centre: Float64
    spread: Float64
    reference: Float64

    @classmethod
    def fit(cls, squared_distance: NDArray[np.float32], groups: Int64) -> Typicality:
        """Fit on the squared distances [N] and class groups [N] of baseline rows, each left out."""
        log_distance = np.log(np.maximum(squared_distance, 1e-30), dtype=np.float64)
        count = np.bincount(groups)
        centre = np.asarray(np.bincount(groups, log_distance) / count, dtype=np.float64)
        square = np.bincount(groups, (log_distance - centre[groups]) ** 2)
        spread = np.asarray(np.sqrt(square / np.maximum(count - 1, 1)), dtype=np.float64)
        standard = np.sort((log_distance - centre[groups]) / spread[groups])
        return cls(centre, spread, np.asarray(standard, dtype=np.float64))

    def rank(self, squared_distance: NDArray[np.float32], groups: Int64) -> Int64:
        """Number of baseline rows that are at least as atypical."""
        log_distance = np.log(np.maximum(squared_distance, 1e-30), dtype=np.float64)
        standard = (log_distance - self.centre[groups]) / self.spread[groups]
        below = np.searchsorted(self.reference, standard, side="left").astype(np.int64)
        return len(self.reference) - below

    def p_values(self, squared_distance: NDArray[np.float32], groups: Int64) -> Float64:
        """``(1 + rank) / (1 + N)``: never zero, uniform on clean traffic."""
        ranks = self.rank(squared_distance, groups).astype(np.float64)
        p_values: Float64 = (1.0 + ranks) / (1.0 + len(self.reference))
        return p_values

    def squared_distance_at(self, level: float) -> Float64:
        """Squared distance [G] that about a share `level` of each class's clean rows exceeds."""
        standard = np.quantile(self.reference, 1.0 - level)
        return np.asarray(np.exp(self.centre + self.spread * standard))

    def tail_probabilities(self) -> Float64:
        """Probability of a (discrete) p-value up to each of ``TAIL_EDGES`` on clean traffic."""
        rows = len(self.reference)
        levels: Float64 = np.floor(TAIL_EDGES * (rows + 1) + 1e-9) / (rows + 1)
        return levels


@dataclass(frozen=True, slots=True)
class NullModel:
    """Moments of clean traffic in one view.

    Parameters
    ----------
    counts : int64 [G]
        Baseline rows of each class group.
    pair_factors, pair_own : float64 [G, f] and [G]
        ``E k^2`` of ``k = <psi, psi'>`` of rows of classes a and b is ``<pair_factors[a],
        pair_factors[b]>``, plus ``pair_own[a]`` if both are of class a.
    pair_third, triangle : float64 [G + 1]
        ``E k^3`` and ``E k12 k23 k31`` within each class; the last entry is for all other rows.
    distance_mean, distance_variance, distance_third : float64 [G]
        Mean, variance and third central moment of ``||psi||^2`` by class group.
    tails : float64 [G, len(TAIL_EDGES)]
        Share of each class group's typicality p-values that are at most each edge.
    typicality : Typicality
    """

    counts: Int64
    pair_factors: Float64
    pair_own: Float64
    pair_third: Float64
    triangle: Float64
    distance_mean: Float64
    distance_variance: Float64
    distance_third: Float64
    tails: Float64
    typicality: Typicality

    @classmethod
    def fit(cls, rows: LeftOut) -> NullModel:
        """Fit on left-out baseline rows."""
        counts = np.bincount(rows.groups).astype(np.int64)
        distance_mean = np.bincount(rows.groups, rows.lengths) / counts
        deviation = rows.lengths - distance_mean[rows.groups]
        typicality = Typicality.fit(rows.squared_distance, rows.groups)
        paired = _spread(rows, PAIRED_ROWS)
        factors, own = _class_pairs(rows.psi[paired], rows.groups[paired], len(counts))
        third, triangle = _third_moments(rows, len(counts))
        return cls(
            counts=counts,
            pair_factors=factors,
            pair_own=own,
            pair_third=third,
            triangle=triangle,
            distance_mean=distance_mean,
            distance_variance=_shrunk_means(deviation**2, rows.groups, counts),
            distance_third=_shrunk_means(deviation**3, rows.groups, counts),
            tails=_class_tails(typicality, rows, counts),
            typicality=typicality,
        )

    def bias(self, shares: Float64) -> Float64:
        """Expected T of clean traffic with class shares [..., G]; class means are estimates."""
        expected: Float64 = (shares**2 * (self.distance_mean / self.counts)).sum(axis=-1)
        return expected

    def z_scores(
        self, rows: Float64, group_counts: Float64, T: Float64, E: Float64, tails: Float64
    ) -> Float64:
        """z-scores [..., 3] of T, E and R.

        Parameters
        ----------
        rows : [...]
            Requests n of each window, two or more.
        group_counts : [..., G]
            Requests by class group.
        T, E : [...]
            The statistics in units (not grid steps).
        tails : [..., len(TAIL_EDGES)]
            Cumulated histogram: requests with a p-value of at most each edge.
        """
        shares = group_counts / rows[..., None]
        # one over the number of baseline rows behind this mix of classes
        finite = (shares**2 / self.counts).sum(axis=-1)
        spread = _weighted(shares, self.distance_variance)
        variance = spread / rows
        variance = variance + _weighted(shares**2, self.distance_variance / self.counts)
        z_distance = (E - _weighted(shares, self.distance_mean)) / np.sqrt(variance)
        skewness = _weighted(shares, self.distance_third) / spread**1.5
        return np.stack(
            [
                self._z_mean_shift(rows, T - self.bias(shares), finite, shares),
                cube_root_normal(z_distance, skewness / np.sqrt(rows)),
                self._z_rank(rows, tails, finite, _weighted(group_counts, self.tails[:, :-1].T)),
            ],
            axis=-1,
        )

    def shift_variance(self, rows: Float64, shares: Float64) -> Float64:
        """Variance [...] of ``(n - 1) T`` of n clean requests with class shares [..., G]."""
        mean = _weighted(shares, self.pair_factors.T)
        pairs = (mean**2).sum(axis=-1) + _weighted(shares**2, self.pair_own)
        # a request does not pair with itself
        itself = _weighted(shares, (self.pair_factors**2).sum(axis=1) + self.pair_own)
        variance: Float64 = 2.0 * (rows * pairs - itself) / (rows - 1.0)
        return variance

    def _z_mean_shift(
        self, rows: Float64, shift: Float64, finite: Float64, shares: Float64
    ) -> Float64:
        variance = self.shift_variance(rows, shares)
        alike = [_with_rest(shares**power) for power in (2, 3)]
        third = 4.0 * _weighted(alike[0], self.pair_third) / rows
        third += 8.0 * _weighted(alike[1], self.triangle)
        scale = np.sqrt(variance) * (1.0 / rows + finite)
        return cube_root_normal(shift / scale, third / variance**1.5)

    def _z_rank(self, rows: Float64, tails: Float64, finite: Float64, expected: Float64) -> Float64:
        level = expected / rows[..., None]
        # beta-binomial: the levels are themselves quantiles of finitely many rows
        inflation = 1.0 + rows * finite
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.sqrt(expected * (1.0 - level) * inflation[..., None])
            z = (tails[..., :-1] - expected) / deviation
            z = cube_root_normal(z, (1.0 - 2.0 * level) / deviation)
        best: Float64 = np.where(expected >= LEAST_EXPECTED, z, -np.inf).max(axis=-1)
        return best


def _weighted(shares: Float64, values: Float64) -> Float64:
    """``sum_g shares[..., g] values[k, g]`` [..., k], or [...] for values [g].

    Not a matrix product, whose last bits depend on the number of windows.
    """
    if values.ndim == 1:
        return np.asarray((shares * values).sum(axis=-1))
    return np.asarray((shares[..., None, :] * values).sum(axis=-1))


def _spread(rows: LeftOut, most: int) -> Int64:
    """At most `most` row numbers, spread evenly."""
    return np.linspace(0, len(rows.psi) - 1, min(len(rows.psi), most)).astype(np.int64)


def _with_rest(shares: Float64) -> Float64:
    """Shares [..., G] of pairs or triples within one class, with the rest appended."""
    return np.concatenate([shares, 1.0 - shares.sum(axis=-1, keepdims=True)], axis=-1)


def _shrunk_means(values: Float64, groups: Int64, counts: Int64) -> Float64:
    """Mean [G] of each class's values [N], shrunk to the overall mean for classes with few rows."""
    total = np.bincount(groups, values) + PRIOR_ROWS * values.mean()
    means: Float64 = total / (counts + PRIOR_ROWS)
    return means


def _third_moments(rows: LeftOut, group_count: int) -> tuple[Float64, Float64]:
    """``E k^3`` and ``E k12 k23 k31`` within each class, and those of all other rows last."""
    spread = _spread(rows, TRIPLED_ROWS)
    own, own_of_spread = (
        np.array(
            [
                _cubes(rows.psi[chosen[places][:TRIPLED_ROWS]])
                for places in _members(rows.groups[chosen], group_count)
            ]
        )
        for chosen in (np.arange(len(rows.psi)), spread)
    )
    # for classes with few rows the mean of all classes is the better estimate
    mean = own.sum(axis=0) / np.maximum(own.sum(axis=0)[[1, 1, 3, 3]], 1.0)
    prior = np.array([PRIOR_PAIRS] * 2 + [PRIOR_PAIRS * PRIOR_ROWS] * 2)
    own += prior * mean
    other = _cubes(rows.psi[spread]) - own_of_spread.sum(axis=0)
    return (
        np.append(own[:, 0] / own[:, 1], other[0] / max(other[1], 1.0)),
        np.append(own[:, 2] / own[:, 3], other[2] / max(other[3], 1.0)),
    )


def _cubes(psi: NDArray[np.float32]) -> Float64:
    """Sum of ``k^3``, number of pairs, sum of ``k12 k23 k31`` and number of triples."""
    gram = (psi @ psi.T).astype(np.float64)
    np.fill_diagonal(gram, 0.0)
    n = float(len(psi))
    triples = np.sum((gram @ gram) * gram)
    return np.array([np.sum(gram**3), n * (n - 1), triples, n * (n - 1) * (n - 2)])


def _members(groups: Int64, group_count: int) -> list[Int64]:
    """Row numbers of each class group."""
    return [np.flatnonzero(groups == group).astype(np.int64) for group in range(group_count)]


def _class_pairs(
    psi: NDArray[np.float32], groups: Int64, group_count: int
) -> tuple[Float64, Float64]:
    """``E k^2`` of pairs of rows by class group: factors [G, f], and the remainder [G]."""
    squares = psi @ psi.T
    np.square(squares, out=squares)
    np.fill_diagonal(squares, 0.0)
    member = np.eye(group_count)[groups]
    counts = member.sum(axis=0)
    sums = member.T @ (squares @ member.astype(np.float32)).astype(np.float64)
    pairs = np.outer(counts, counts) - np.diag(counts)
    same = np.eye(group_count, dtype=bool)
    for kind in (same, ~same):
        # for classes with few rows the mean of all others is the better estimate
        mean = sums[kind].sum() / max(pairs[kind].sum(), 1.0)
        sums[kind] += PRIOR_PAIRS * mean
    table = sums / (pairs + PRIOR_PAIRS)
    return _factored(table)


def _factored(table: Float64) -> tuple[Float64, Float64]:
    """Factors F [G, f] and own [G] with ``F F' + diag(own)`` close to a symmetric table [G, G].

    Iterated principal factors (Harman 1976, chapter 8): the diagonal is several times as large as
    the rest and must not dominate the factors, or all pairs of classes would be wrong.
    """
    rest = (table.sum(axis=1) - np.diag(table)) / max(len(table) - 1, 1)
    common = table + np.diag(rest - np.diag(table))
    for _ in range(FACTOR_STEPS):
        eigenvalues, vectors = np.linalg.eigh(common)
        kept = np.argsort(eigenvalues)[::-1][:PAIR_FACTORS]
        factors = vectors[:, kept] * np.sqrt(np.maximum(eigenvalues[kept], 0.0))
        np.fill_diagonal(common, (factors**2).sum(axis=1))
    # the last bits of a product depend on the memory layout, and a loaded artefact is contiguous
    return np.ascontiguousarray(factors), np.diag(table) - (factors**2).sum(axis=1)


def _class_tails(typicality: Typicality, rows: LeftOut, counts: Int64) -> Float64:
    """Share [G, len(TAIL_EDGES)] of each class's p-values at most each edge.

    Standardised squared distances are ranked among all classes, so the shares differ for a class
    whose distribution has another shape. Far out, where a class has few rows, the shares of all
    classes are used.
    """
    rank = typicality.rank(rows.squared_distance, rows.groups)
    # the rank among the others: a row counts itself, where the p-value of a request adds one
    below = (rank / len(rank))[:, None] <= TAIL_EDGES
    member = np.eye(len(counts))[rows.groups]
    level = typicality.tail_probabilities()
    prior = PRIOR_EXPECTED / np.maximum(level, 1.0 / len(rank))
    shares: Float64 = (member.T @ below + prior * level) / (counts[:, None] + prior)
    return shares


def cube_root_normal(z: Float64, skewness: Float64 | float) -> Float64:
    """Bend a standardised gamma-like variable to a normal one (Wilson and Hilferty 1931)."""
    g = np.maximum(np.asarray(skewness, dtype=np.float64), 1e-6)
    bent: Float64 = (6.0 / g) * (np.cbrt(np.maximum(1.0 + g * z / 2.0, 0.0)) - 1.0) + g / 6.0
    return bent


def surprise(z: Float64) -> Float64:
    """Score of z-scores [..., 3]: ``-log10`` of the tail probability of the largest.

    T and R are one-sided, E is two-sided: squared distances that are too small are as unusual as
    those that are too large. A score of 6 means one in a million, before the maximum over windows
    is taken into account.
    """
    largest = np.maximum.reduce([z[..., 0], np.abs(z[..., 1]), z[..., 2]])
    score: Float64 = -log_ndtr(-largest) / _LOG10
    return score


def in_units(value: float | Int64) -> Float64:
    """Convert squared grid steps to squared units of psi."""
    return np.asarray(value, dtype=np.float64) / GRID**2
