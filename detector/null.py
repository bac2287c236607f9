"""What the statistics of clean traffic look like: the null model of each view.

Two statistics of one sketch, and a third of its histogram of typicality p-values:

    T = (||S||^2 - q) / (n (n - 1))   unbiased squared MMD in the whitened space (Gretton et al.
                                      2012, lemma 6): has the mean embedding moved?
    E = q / n                         mean energy: are single requests off the data's manifold?
    R                                 how many p-values are small, at the best of several levels
                                      (after the higher criticism of Donoho and Jin 2004)

Each is turned into a z-score: centred and scaled by moments of the baseline rows, each left out of
the feature map in turn (`detector.leave_out`), and bent to a normal distribution by the
Wilson-Hilferty cube root with the statistic's own skewness. The z-scores need not be exact; the
thresholds are calibrated by simulation (`detector.calibration`), the moments only make them
comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from detector.features import GRID, Float64, Int64
from detector.leave_out import LeftOut
from detector.sketch import TAIL_EDGES

STATISTICS = ("T", "E", "R")

LEAST_EXPECTED = 1.5
"""A level of the rank statistic is used when it expects that many p-values below it."""

PAIRED_ROWS = 1600
"""Rows that the moments of T are estimated from; every pair of them counts."""

_LOG10 = np.log(10.0)


@dataclass(frozen=True, slots=True)
class Typicality:
    """Ranks the energy of a request among the baseline rows (a conformal p-value).

    The logarithm of the energy is standardised within the class group, and ranked among the
    baseline rows of all groups: finer than a rank within one class, which could never be
    smaller than one over its rows.

    Parameters
    ----------
    centre, spread : float64 [G]
        Mean and standard deviation of the log energy in each class group.
    reference : float64 [N]
        Standardised log energies of the baseline rows, ascending.
    """

    centre: Float64
    spread: Float64
    reference: Float64

    @classmethod
    def fit(cls, energy: NDArray[np.float32], groups: Int64) -> Typicality:
        """Fit on the energies [N] and class groups [N] of baseline rows, each left out."""
        log_energy = np.log(np.maximum(energy, 1e-30), dtype=np.float64)
        count = np.bincount(groups)
        centre = np.asarray(np.bincount(groups, log_energy) / count, dtype=np.float64)
        square = np.bincount(groups, (log_energy - centre[groups]) ** 2)
        spread = np.asarray(np.sqrt(square / np.maximum(count - 1, 1)), dtype=np.float64)
        standard = np.sort((log_energy - centre[groups]) / spread[groups])
        return cls(centre, spread, np.asarray(standard, dtype=np.float64))

    def rank(self, energy: NDArray[np.float32], groups: Int64) -> Int64:
        """Number of baseline rows that are at least as atypical."""
        log_energy = np.log(np.maximum(energy, 1e-30), dtype=np.float64)
        standard = (log_energy - self.centre[groups]) / self.spread[groups]
        below = np.searchsorted(self.reference, standard, side="left").astype(np.int64)
        return len(self.reference) - below

    def p_values(self, energy: NDArray[np.float32], groups: Int64) -> Float64:
        """``(1 + rank) / (1 + N)``: never zero, uniform on clean traffic."""
        ranks = self.rank(energy, groups).astype(np.float64)
        p_values: Float64 = (1.0 + ranks) / (1.0 + len(self.reference))
        return p_values

    def tail_probabilities(self) -> Float64:
        """Probability of each ``TAIL_EDGES`` level on clean traffic; p-values are multiples."""
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
    pair_variance, pair_third, triangle : float
        ``E k^2``, ``E k^3`` and ``E k12 k23 k31`` of ``k = <psi, psi'>``: they give variance and
        skewness of T, a degenerate U-statistic (Serfling 1980, section 5.5).
    same_class, other_class : float
        ``E k^2`` of pairs of one class group, and of pairs of two: requests of one class vary in
        the same directions, so that T varies more the fewer classes the traffic has.
    energy_mean : float64 [G]
        Mean of ``||psi||^2`` by class group.
    energy_variance, energy_skewness : float
        Within the groups.
    typicality : Typicality
    """

    counts: Int64
    pair_variance: float
    pair_third: float
    triangle: float
    same_class: float
    other_class: float
    energy_mean: Float64
    energy_variance: float
    energy_skewness: float
    typicality: Typicality

    @classmethod
    def fit(cls, rows: LeftOut) -> NullModel:
        """Fit on baseline rows as fresh rows would look."""
        counts = np.bincount(rows.groups).astype(np.int64)
        energy_mean = np.bincount(rows.groups, rows.lengths) / counts
        deviation = rows.lengths - energy_mean[rows.groups]
        variance = float(np.mean(deviation**2))
        spread = np.linspace(0, len(rows.psi) - 1, min(len(rows.psi), PAIRED_ROWS)).astype(int)
        paired = rows.psi[spread]
        same = np.equal.outer(rows.groups[spread], rows.groups[spread])
        gram = (paired @ paired.T).astype(np.float64)
        np.fill_diagonal(gram, 0.0)
        n = len(paired)
        pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
        return cls(
            counts=counts,
            pair_variance=float(np.sum(gram**2) / pairs),
            pair_third=float(np.sum(gram**3) / pairs),
            triangle=float(np.sum((gram @ gram) * gram) / triples),
            same_class=float(np.sum(gram[same] ** 2) / max(same.sum() - n, 1)),
            other_class=float(np.sum(gram[~same] ** 2) / max(np.sum(~same), 1)),
            energy_mean=energy_mean,
            energy_variance=variance,
            energy_skewness=float(np.mean(deviation**3) / variance**1.5),
            typicality=Typicality.fit(rows.energy, rows.groups),
        )

    def bias(self, shares: Float64) -> Float64:
        """Expected T of clean traffic of class shares [..., G]: the class means are estimates."""
        expected: Float64 = (shares**2 * (self.energy_mean / self.counts)).sum(axis=-1)
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
        # one over the baseline rows that this mix of classes compares with
        finite = (shares**2 / self.counts).sum(axis=-1)
        expected_energy = shares @ self.energy_mean
        z_energy = (E - expected_energy) / np.sqrt(self.energy_variance * (1.0 / rows + finite))
        return np.stack(
            [
                self._z_mean_shift(rows, T - self.bias(shares), finite, shares),
                cube_root_normal(z_energy, self.energy_skewness / np.sqrt(rows)),
                self._z_rank(rows, tails, finite),
            ],
            axis=-1,
        )

    def _z_mean_shift(
        self, rows: Float64, shift: Float64, finite: Float64, shares: Float64
    ) -> Float64:
        third = 8.0 * self.triangle + 4.0 * self.pair_third / rows
        skewness = third / (2.0 * self.pair_variance) ** 1.5
        same = (rows * (shares**2).sum(axis=-1) - 1.0) / (rows - 1.0)
        variance = 2.0 * (same * self.same_class + (1.0 - same) * self.other_class)
        return cube_root_normal(shift / (np.sqrt(variance) * (1.0 / rows + finite)), skewness)

    def _z_rank(self, rows: Float64, tails: Float64, finite: Float64) -> Float64:
        level = self.typicality.tail_probabilities()[:-1]
        expected = rows[..., None] * level
        # beta-binomial: the levels are themselves quantiles of finitely many rows
        inflation = 1.0 + rows * finite
        deviation = np.sqrt(expected * (1.0 - level) * inflation[..., None])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (tails[..., :-1] - expected) / deviation
            z = cube_root_normal(z, (1.0 - 2.0 * level) / deviation)
        best: Float64 = np.where(expected >= LEAST_EXPECTED, z, -np.inf).max(axis=-1)
        return best


def cube_root_normal(z: Float64, skewness: Float64 | float) -> Float64:
    """Bend a standardised gamma-like variable to a normal one (Wilson and Hilferty 1931)."""
    g = np.maximum(np.asarray(skewness, dtype=np.float64), 1e-6)
    bent: Float64 = (6.0 / g) * (np.cbrt(np.maximum(1.0 + g * z / 2.0, 0.0)) - 1.0) + g / 6.0
    return bent


def surprise(z: Float64) -> Float64:
    """Score of z-scores [..., 3]: ``-log10`` of the tail probability of the largest.

    T and R are one-sided, E is two-sided: energies that are too small are as odd as too large.
    A score of 6 says one in a million, before the maximum over windows is accounted for.
    """
    largest = np.maximum.reduce([z[..., 0], np.abs(z[..., 1]), z[..., 2]])
    score: Float64 = -log_ndtr(-largest) / _LOG10
    return score


def in_units(value: float | Int64) -> Float64:
    """Squared grid steps in squared units of psi."""
    return np.asarray(value, dtype=np.float64) / GRID**2
