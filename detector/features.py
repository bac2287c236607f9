"""The feature map of a view: standardise, random Fourier features, centre by class, whiten, bound.

A request's activations become a residual vector ``psi`` whose sum over a window is all that the
tests need. The map is frozen with the baseline, and ``psi`` is rounded to a fixed grid, so that
sums are integers and additions exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.errors import ConstantFeaturesError

BLOCK_ROWS = 32
"""Rows that are featurised together: a matrix product gives other last bits for another shape."""

GRID = 256
"""Steps of ``psi`` per unit; a unit is about one standard deviation of clean traffic."""

CLIP = 8.0
"""Standard deviations at which a standardised feature is cut, which bounds its influence."""

BANDWIDTHS = (2.0, 4.0, 8.0)
"""Gaussian bandwidths in units of the median distance (the median heuristic)."""

SPECTRAL_CUTOFF = 1e-6
"""Regularisation of the whitening, in units of the largest eigenvalue."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Map from raw activation rows to residual vectors, for one view.

    Parameters
    ----------
    columns : int64 [d]
        Which columns of the concatenated layers the view uses.
    mean, scale : float32 [d]
        A column is standardised as ``(x - mean) * scale``; ``scale`` holds the inverse standard
        deviation and is clipped at ``CLIP`` before `weight` is applied.
    weight : float32 [d]
        One over the square root of the layer's width, so that every layer counts alike.
    frequencies : float32 [d, D / 2]
        Orthogonal random Fourier frequencies of a mixture of Gaussian kernels (Rahimi and Recht
        2007, Yu et al. 2016).
    whitening : float32 [D, r]
        ``U (lambda + eps lambda_max)^(-1/2)`` of the pooled within-class covariance: the spectral
        regularisation of the MMD (Hagrass, Sriperumbudur and Li 2024).
    centres : float32 [G, r]
        Class means of the Fourier features, whitened.
    radius : float
        Length to which a residual is shortened. Without it a single outlier of the baseline
        decides the variance of both statistics.
    """

    columns: Int64
    mean: Float32
    scale: Float32
    weight: Float32
    frequencies: Float32
    whitening: Float32
    centres: Float32
    radius: float = float("inf")

    @property
    def rank(self) -> int:
        """Length r of the residual vector."""
        return int(self.whitening.shape[1])

    def with_radius(self, radius: float) -> FeatureMap:
        """Return the same map with another bound on the length of the residuals."""
        return replace(self, radius=radius)

    def fourier(self, rows: Float32) -> Float32:
        """Random Fourier features [n, D] of raw rows [n, all columns]; each has length one."""
        # finite rows may overflow here; the clip takes infinities in
        with np.errstate(over="ignore"):
            standard = np.clip((rows[:, self.columns] - self.mean) * self.scale, -CLIP, CLIP)
        angle = (standard * self.weight) @ self.frequencies
        return np.hstack([np.cos(angle), np.sin(angle)]) * np.float32(angle.shape[1] ** -0.5)

    def residuals(self, rows: Float32, groups: Int64) -> tuple[Int16, Float32]:
        """Residuals of one block.

        Parameters
        ----------
        rows : float32 [BLOCK_ROWS, all columns]
            Raw activations; any row that is not used may hold anything finite.
        groups : int64 [BLOCK_ROWS]
            Class group of each row.

        Returns
        -------
        psi : int16 [BLOCK_ROWS, r]
            Residuals on the grid, shortened to the radius.
        energy : float32 [BLOCK_ROWS]
            Squared length before shortening, in units of psi: how atypical a request is.
        """
        psi = self.fourier(rows) @ self.whitening - self.centres[groups]
        energy = np.einsum("ij,ij->i", psi, psi)
        with np.errstate(divide="ignore"):
            shrink = np.minimum(1.0, self.radius / np.sqrt(energy)) * GRID
        psi *= shrink.astype(np.float32)[:, None]
        np.clip(np.rint(psi, out=psi), -32767, 32767, out=psi)
        return psi.astype(np.int16), energy


def residuals_of_rows(
    feature_map: FeatureMap, rows: Float32, groups: Int64
) -> tuple[Int16, Float32]:
    """Residuals int16 [n, r] and energies float32 [n] of any number of rows, block by block."""
    n = len(rows)
    missing = -n % BLOCK_ROWS
    psi = np.empty((n + missing, feature_map.rank), dtype=np.int16)
    energy = np.empty(n + missing, dtype=np.float32)
    rows = np.pad(rows, ((0, missing), (0, 0)))
    groups = np.pad(groups, (0, missing))
    for start in range(0, n, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        psi[block], energy[block] = feature_map.residuals(rows[block], groups[block])
    return psi[:n], energy[:n]


def median_distance(rows: Float32, rng: np.random.Generator, pairs: int = 4000) -> float:
    """Median distance of random pairs of rows [n, d]: the scale of the kernels."""
    first, second = rng.integers(0, len(rows), (2, pairs))
    differ = first != second
    return float(np.median(np.linalg.norm(rows[first[differ]] - rows[second[differ]], axis=1)))


def fit_feature_map(
    rows: Float32,
    groups: Int64,
    group_count: int,
    columns: Int64,
    weight: Float32,
    random_features: int,
    rng: np.random.Generator,
) -> tuple[FeatureMap, Float32]:
    """Fit the map of one view; its radius is set later, by `detector.leave_out`.

    Parameters
    ----------
    rows : float32 [N, all columns]
        Raw activations that the map may be fitted on.
    groups : int64 [N]
        Class group of each row, 0 to ``group_count - 1``; every group has rows.
    columns, weight : [d]
        See `FeatureMap`.
    random_features : int
        D, an even number.

    Returns
    -------
    FeatureMap
    in_sample : float32 [N, r]
        Residuals of the very rows that the map was fitted on: they look too typical.

    Raises
    ------
    ConstantFeaturesError
        More than half of all pairs of rows are the same, so that kernels have no scale.
    """
    chosen = rows[:, columns].astype(np.float64)
    mean, spread = chosen.mean(axis=0), chosen.std(axis=0)
    standard = np.clip((chosen - mean) / spread, -CLIP, CLIP) * weight
    distance = median_distance(standard.astype(np.float32), rng)
    if not distance:
        raise ConstantFeaturesError(
            "most of the baseline's rows are the same; give activations of different inputs, "
            "or capture another layer"
        )
    bandwidths = distance * np.array(BANDWIDTHS)
    half = random_features // 2
    bandwidth = np.resize(np.sort(np.resize(bandwidths, half)), half)
    frequencies = orthogonal_frequencies(len(columns), half, rng) / rng.permutation(bandwidth)
    unfinished = FeatureMap(
        columns=columns,
        mean=mean.astype(np.float32),
        scale=(1.0 / spread).astype(np.float32),
        weight=weight,
        frequencies=frequencies.astype(np.float32),
        whitening=np.eye(random_features, dtype=np.float32),
        centres=np.zeros((group_count, random_features), dtype=np.float32),
    )
    phi = unfinished.fourier(rows)
    centres = group_means(phi, groups, group_count)
    residuals = phi - centres.astype(np.float32)[groups]
    whitening = whitening_matrix(residuals, len(rows) - group_count)
    finished = replace(
        unfinished,
        whitening=whitening.astype(np.float32),
        centres=(centres @ whitening).astype(np.float32),
    )
    return finished, (residuals @ finished.whitening).astype(np.float32)


def orthogonal_frequencies(width: int, count: int, rng: np.random.Generator) -> Float64:
    """Frequencies [width, count] of a Gaussian kernel of bandwidth one, orthogonal in blocks.

    They approximate the kernel with less variance than independent ones (Yu et al. 2016).
    """
    blocks = []
    for _ in range(-(-count // width)):
        directions, _ = np.linalg.qr(rng.standard_normal((width, width)))
        blocks.append(directions * np.sqrt(rng.chisquare(width, width)))
    return np.asarray(np.hstack(blocks)[:, :count], dtype=np.float64)


def group_means(values: Float32, groups: Int64, group_count: int) -> Float64:
    """Mean [G, D] of the rows [N, D] of each group."""
    sums = np.zeros((group_count, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums / np.bincount(groups, minlength=group_count)[:, None]


def whitening_matrix(residuals: NDArray[np.floating], degrees_of_freedom: int) -> Float64:
    """``U (lambda + eps lambda_max)^(-1/2)`` [D, D] of residuals [N, D]."""
    exact = residuals.astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(exact.T @ exact / degrees_of_freedom)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    scaled: Float64 = vectors / np.sqrt(eigenvalues + SPECTRAL_CUTOFF * eigenvalues.max())
    return scaled
