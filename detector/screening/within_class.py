"""Robustly whitened residuals within classes, the input of the screening tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import CLIP, Float32, Float64, Int64

MOST_DIRECTIONS = 512
"""Leading directions kept of a wider layer, so that screening does not take minutes."""

SHRINKAGE = 0.1
"""Added to the covariance's eigenvalues, in units of their mean."""


@dataclass(frozen=True, eq=False)
class WithinClass:
    """Rows of one layer relative to their classes.

    Parameters
    ----------
    residuals : float64 [N, k]
        Whitened by the pooled within-class covariance; a unit is about a standard deviation.
    groups : int64 [N]
        Class group of each row, 0 to G - 1; no group is empty.
    centres : float64 [G, k]
        Class medians, whitened. Medians hardly move when some rows are poisoned.
    """

    residuals: Float64
    groups: Int64
    centres: Float64

    @classmethod
    def of(cls, rows: Float32, groups: Int64) -> WithinClass:
        """Whiten rows [N, d] in which every column varies."""
        exact = rows.astype(np.float64)
        standard = np.clip((exact - exact.mean(axis=0)) / exact.std(axis=0), -CLIP, CLIP)
        count = int(groups.max()) + 1
        centres = np.stack([np.median(standard[groups == g], axis=0) for g in range(count)])
        residuals = standard - centres[groups]
        eigenvalues, vectors = np.linalg.eigh(residuals.T @ residuals / len(residuals))
        eigenvalues, vectors = np.maximum(eigenvalues, 0.0), vectors[:, -MOST_DIRECTIONS:]
        regular = eigenvalues[-MOST_DIRECTIONS:] + SHRINKAGE * eigenvalues.mean()
        whitening = vectors / np.sqrt(regular)
        return cls(residuals @ whitening, groups, centres @ whitening)

    def rows_of(self, group: int) -> NDArray[np.int64]:
        """Indices of the rows of a group."""
        return np.flatnonzero(self.groups == group)

    def margins(self, group: int) -> Float64:
        """How much nearer each row of a group is to its own centre than to the next one.

        Half the difference of squared distances: a log likelihood ratio, were the classes
        Gaussian (Fisher's linear discriminant).
        """
        residuals = self.residuals[self.groups == group]
        away = np.delete(self.centres - self.centres[group], group, axis=0)
        longer = np.einsum("gk,gk->g", away, away) - 2.0 * residuals @ away.T
        margins: Float64 = 0.5 * longer.min(axis=1)
        return margins
