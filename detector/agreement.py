"""Agreement of the layers with the prediction: distances to the class means, as columns of a view.

An attack moves a request to another class: the early layers still see the old class, and the deep
ones see the new class more strongly than for real inputs. The directions of that shift differ from
class to class and cancel in a mean over classes; relative to the predicted class they are alike.
For each layer, with squared Mahalanobis distances ``D_k`` to the class means (Fisher's linear
discriminant; pooled within-class covariance):

    log D_own                                 distance from the predicted class
    min D_other - D_own                       margin to the runner-up
    log sum exp(-D_other / 2) + D_own / 2     minus the log odds of the predicted class
    mean D_other - D_own                      margin to the classes on average

Each is standardised within the predicted class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import (
    CLIP,
    Float32,
    Float64,
    Int64,
    group_means,
    picked,
    times_triangle,
    whitening_matrix,
)

REGULARISATION = 1e-4
"""Added to the covariance's eigenvalues, in units of the largest."""

LEAST_DISTANCE = 1e-6

LEAST_SPREAD = 1e-6

STANDARD_CLIP = 16.0
"""Standard deviations at which a column is clipped, far beyond where the feature map saturates."""


@dataclass(frozen=True, eq=False)
class ClassDistances:
    """Squared Mahalanobis distances of one layer's rows to all class means.

    Parameters
    ----------
    columns : int64 [d]
        Columns of the raw rows that belong to the layer.
    mean, scale : float32 [d]
        A column is standardised as ``(x - mean) * scale`` and clipped at ``CLIP``.
    whitening : float32 [d, d]
        Upper triangular root of the regularised inverse of the pooled within-class covariance.
    centres : float32 [G, d]
        Class means, whitened.
    """

    columns: Int64
    mean: Float32
    scale: Float32
    whitening: Float32
    centres: Float32

    @classmethod
    def fit(cls, rows: Float32, groups: Int64, columns: Int64) -> tuple[ClassDistances, Float64]:
        """Fit on raw rows [N, all columns] and class groups [N].

        Returns
        -------
        ClassDistances
        distances : float64 [N, G]
            Distances of the same rows, each left out of the fit (see `detector.leave_out`).
        """
        chosen = rows[:, columns].astype(np.float64)
        mean, scale = chosen.mean(axis=0), 1.0 / chosen.std(axis=0)
        standard = np.clip((chosen - mean) * scale, -CLIP, CLIP).astype(np.float32)
        group_count = int(groups.max()) + 1
        centres = group_means(standard, groups, group_count)
        residuals = standard - centres[groups]
        degrees = len(rows) - group_count
        whitening = whitening_matrix(residuals, degrees, REGULARISATION)
        finished = cls(
            columns,
            mean.astype(np.float32),
            scale.astype(np.float32),
            whitening.astype(np.float32),
            (centres @ whitening).astype(np.float32),
        )
        return finished, _left_out(finished, standard, groups)

    def whitened(self, rows: Float32) -> Float32:
        """Whitened layer [n, d] of raw rows."""
        with np.errstate(over="ignore"):
            standard = np.clip((picked(rows, self.columns) - self.mean) * self.scale, -CLIP, CLIP)
        return times_triangle(standard, self.whitening)

    def __call__(self, rows: Float32) -> Float64:
        """Distances float64 [n, G] of raw rows [n, all columns]."""
        return _squared_distances(self.whitened(rows), self.centres)


def _squared_distances(points: Float32, centres: Float32) -> Float64:
    exact, means = points.astype(np.float64), centres.astype(np.float64)
    squares = np.einsum("ij,ij->i", exact, exact)[:, None] + np.einsum("kj,kj->k", means, means)
    return np.asarray(np.maximum(squares - 2.0 * exact @ means.T, LEAST_DISTANCE))


def _left_out(distances: ClassDistances, standard: Float32, groups: Int64) -> Float64:
    """Distances [N, G] of the fitted rows, each under a fit without it.

    The formula of `latentwatch.detector.leave_out`, for the other classes as well: with
    ``d_k = x - mu_k`` and the row's residual r, ``d_k' M^-1 d_k`` grows by
    ``a/v (d_k' M^-1 r)^2 / (1 - a h / v)``.
    """
    counts = np.bincount(groups)
    degrees = len(groups) - len(counts)
    factor = (counts / (counts - 1.0))[groups]
    points = times_triangle(standard, distances.whitening).astype(np.float64)
    centres = distances.centres.astype(np.float64)
    own = points - centres[groups]
    leverage = np.einsum("ij,ij->i", own, own)
    remainder = np.maximum(1.0 - factor * leverage / degrees, 1e-3)
    cross = np.einsum("ij,ij->i", own, points)[:, None] - own @ centres.T
    found = _squared_distances(points.astype(np.float32), distances.centres)
    found += (factor / degrees / remainder)[:, None] * cross**2
    found[np.arange(len(groups)), groups] = factor**2 * leverage / remainder
    return np.asarray(np.maximum(found * (degrees - 1) / degrees, LEAST_DISTANCE))


def compare_classes(distances: Float64, groups: Int64) -> Float64:
    """The four comparisons [n, 4] above; for a single class only ``log D_own`` [n, 1].

    Parameters
    ----------
    distances : float64 [n, G]
    groups : int64 [n]
        Group of the predicted class.
    """
    index = np.arange(len(groups))
    own = distances[index, groups]
    if distances.shape[1] == 1:
        return np.log(own)[:, None]
    others = distances.copy()
    others[index, groups] = np.inf
    nearest = others.min(axis=1)
    # log of the sum of exp(-D/2), with the largest term factored out
    with np.errstate(under="ignore"):
        rest = np.log(np.exp(-0.5 * (others - nearest[:, None])).sum(axis=1))
    mean = (distances.sum(axis=1) - own) / (distances.shape[1] - 1)
    columns = (np.log(own), nearest - own, rest - 0.5 * nearest + 0.5 * own, mean - own)
    return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class Agreement:
    """Columns that say how well each layer agrees with the predicted class.

    Parameters
    ----------
    layers : tuple of ClassDistances
    centre, spread : float64 [G, k]
        Mean and standard deviation of the k columns in each class group.
    """

    layers: tuple[ClassDistances, ...]
    centre: Float64
    spread: Float64

    @classmethod
    def fit(
        cls, rows: Float32, groups: Int64, layers: list[Int64]
    ) -> tuple[Agreement, NDArray[np.float32]]:
        """Fit on raw rows [N, all columns]; `layers` are the columns of each.

        Returns
        -------
        Agreement
        columns : float32 [N, k]
            Columns of the same rows, each left out of the distances and of its class's moments.
        """
        fitted = [ClassDistances.fit(rows, groups, columns) for columns in layers]
        compared = np.hstack([compare_classes(distances, groups) for _, distances in fitted])
        counts = np.bincount(groups)
        centre = np.stack([np.bincount(groups, c) / counts for c in compared.T], axis=1)
        deviation = compared - centre[groups]
        squares = np.stack([np.bincount(groups, c) for c in (deviation**2).T], axis=1)
        spread = np.maximum(np.sqrt(squares / (counts[:, None] - 1)), LEAST_SPREAD)
        agreement = cls(tuple(distances for distances, _ in fitted), centre, spread)
        # the mean and deviation of n rows fit these rows better than fresh ones, which vary more by
        # the variance of a prediction (1 + 1 / n) and that of the estimated deviation
        fresh = np.sqrt((counts + 1.0) / (counts - 3.0))[groups, None]
        return agreement, _cut(fresh * deviation / spread[groups])

    @property
    def width(self) -> int:
        """Number k of columns."""
        return int(self.centre.shape[1])

    def standardised(self, compared: Float64, groups: Int64) -> Float32:
        """Columns [n, k] in standard deviations of the predicted class."""
        return _cut((compared - self.centre[groups]) / self.spread[groups])

    def columns(self, rows: Float32, groups: Int64) -> Float32:
        """Columns float32 [CHUNK_ROWS, k] of one chunk of raw rows."""
        parts = [compare_classes(distances(rows), groups) for distances in self.layers]
        return self.standardised(np.hstack(parts), groups)


def _cut(standard: Float64) -> Float32:
    cut: Float32 = np.clip(standard, -STANDARD_CLIP, STANDARD_CLIP).astype(np.float32)
    return cut
