"""The feature map of a view: standardise, random Fourier features, centre by class, whiten, bound.

It maps a request's activations to a residual vector ``psi``; the tests only need sums of them. The
map is frozen with the baseline, and ``psi`` is rounded to a fixed grid, so that sums are integers
and exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from latentwatch.detector.errors import ConstantFeaturesError

BLOCK_ROWS = 32
"""Rows per block: a monitor decides after each block."""

CHUNK_ROWS = 128
"""Rows featurised together. The last bits of a matrix product depend on its shape and on the row's
position, so the shape is fixed. Fewer rows would cost more per row, because every product prepares
the matrix again; more rows would waste work on thin traffic."""

TRIANGLE_BLOCKS = 8
"""Blocks of columns of a triangular product; each skips the rows that are zero."""

GRID = 256
"""Steps of ``psi`` per unit; a unit is about one standard deviation of clean traffic."""

CLIP = 8.0
"""Standard deviations at which a standardised feature is clipped, to bound its influence."""

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
    whitening : float32 [D, D]
        Upper triangular, ``W W' = (C + eps lambda_max)^(-1)`` of the pooled within-class
        covariance C: the spectral regularisation of the MMD (Hagrass, Sriperumbudur and Li 2024).
        A triangle takes half the work of other roots, which differ from it only by a rotation.
    centres : float32 [G, D]
        Class means of the Fourier features, subtracted before the whitening: afterwards large
        numbers would cancel.
    radius : float
        Length to which a residual is shortened. Without it a single outlier of the baseline would
        dominate the variance of both statistics.
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
        """The same map with another bound on the length of the residuals."""
        return replace(self, radius=radius)

    def fourier(self, rows: Float32) -> Float32:
        """Random Fourier features [n, D] of raw rows [n, all columns]; each has length one."""
        # finite rows may overflow here; the clip bounds infinities as well
        with np.errstate(over="ignore"):
            standard = np.clip((picked(rows, self.columns) - self.mean) * self.scale, -CLIP, CLIP)
        standard *= self.weight
        angle = standard @ self.frequencies
        half = angle.shape[1]
        phi = np.empty((len(angle), 2 * half), dtype=np.float32)
        np.cos(angle, out=phi[:, :half])
        np.sin(angle, out=phi[:, half:])
        phi *= np.float32(half**-0.5)
        return phi

    def residuals(self, rows: Float32, groups: Int64) -> tuple[Int16, Float32]:
        """Residuals of one chunk.

        Parameters
        ----------
        rows : float32 [CHUNK_ROWS, all columns]
            Raw activations; unused rows may hold any finite values.
        groups : int64 [CHUNK_ROWS]
            Class group of each row.

        Returns
        -------
        psi : int16 [CHUNK_ROWS, r]
            Residuals on the grid, shortened to the radius.
        squared_distance : float32 [CHUNK_ROWS]
            Squared length before shortening, in units of psi: how atypical a request is.
        """
        phi = self.fourier(rows)
        phi -= self.centres[groups]
        psi = times_triangle(phi, self.whitening)
        squared_distance = np.einsum("ij,ij->i", psi, psi)
        with np.errstate(divide="ignore"):
            shrink = np.minimum(1.0, self.radius / np.sqrt(squared_distance)) * GRID
        psi *= shrink.astype(np.float32)[:, None]
        np.clip(np.rint(psi, out=psi), -32767, 32767, out=psi)
        return psi.astype(np.int16), squared_distance


def residuals_of_rows(
    feature_map: FeatureMap, rows: Float32, groups: Int64, place: int = 0
) -> tuple[Int16, Float32]:
    """Residuals int16 [n, r] and squared distances float32 [n] of rows, chunk by chunk.

    `place` is the position of the first row in its chunk.
    """
    psi = np.empty((len(rows), feature_map.rank), dtype=np.int16)
    squared_distance = np.empty(len(rows), dtype=np.float32)
    for chunk, own in chunks(len(rows), place):
        found = feature_map.residuals(
            placed(rows[chunk], own.start), placed(groups[chunk], own.start)
        )
        psi[chunk], squared_distance[chunk] = found[0][own], found[1][own]
    return psi, squared_distance


def chunks(count: int, place: int) -> list[tuple[slice, slice]]:
    """Rows of each chunk, and their positions within it."""
    starts = range(-place, count, CHUNK_ROWS)
    parts = [(max(0, start), min(count, start + CHUNK_ROWS), start) for start in starts]
    return [(slice(a, b), slice(a - start, b - start)) for a, b, start in parts if a < b]


def placed(values: NDArray[Any], place: int) -> NDArray[Any]:
    """Values [n, ...] at their position in a whole chunk, zeros elsewhere."""
    if len(values) == CHUNK_ROWS:
        return values
    whole = np.zeros((CHUNK_ROWS, *values.shape[1:]), dtype=values.dtype)
    whole[place : place + len(values)] = values
    return whole


def picked(rows: Float32, columns: Int64) -> Float32:
    """Some columns of rows, ascending; a view without a copy where they are contiguous."""
    first, last = int(columns[0]), int(columns[-1])
    return rows[:, first : last + 1] if last - first + 1 == len(columns) else rows[:, columns]


def times_triangle(values: Float32, triangle: Float32) -> Float32:
    """Product [n, k] of values [n, k] and an upper triangle [k, k], skipping most zeros."""
    found = np.empty_like(values)
    rank = triangle.shape[1]
    width = -(-rank // TRIANGLE_BLOCKS)
    for start in range(0, rank, width):
        end = min(start + width, rank)
        np.matmul(values[:, :end], triangle[:end, start:end], out=found[:, start:end])
    return found


def median_distance(rows: Float32, rng: np.random.Generator, pairs: int = 4000) -> float:
    """Median distance of random pairs of rows [n, d], which sets the scale of the kernels."""
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
    """Fit the map of one view; its radius is set later, by `latentwatch.detector.leave_out`.

    Parameters
    ----------
    rows : float32 [N, all columns]
        Raw activations to fit on.
    groups : int64 [N]
        Class group of each row, 0 to ``group_count - 1``; no group is empty.
    columns, weight : [d]
        See `FeatureMap`.
    random_features : int
        D, an even number.

    Returns
    -------
    FeatureMap
    in_sample : float32 [N, r]
        Residuals of the rows that the map was fitted on, which look too typical.

    Raises
    ------
    ConstantFeaturesError
        More than half of all pairs of rows are equal, so the kernels have no scale.
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
        centres=centres.astype(np.float32),
    )
    return finished, times_triangle(residuals, finished.whitening)


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


def whitening_matrix(
    residuals: NDArray[np.floating], degrees_of_freedom: int, cutoff: float = SPECTRAL_CUTOFF
) -> Float64:
    """Upper triangular W [D, D], ``W W' = (C + eps lambda_max)^(-1)``, of residuals [N, D]."""
    exact = residuals.astype(np.float64)
    covariance = exact.T @ exact / degrees_of_freedom
    largest = float(np.linalg.eigvalsh(covariance)[-1])
    root = np.linalg.cholesky(covariance + cutoff * largest * np.eye(len(covariance)))
    inverse: Float64 = solve_triangular(root, np.eye(len(root)), lower=True)
    return np.triu(inverse.T)
