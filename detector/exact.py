"""Exact MMD with the full kernel, and a permutation test.

It is the reference in the tests, and handy for small offline questions. The cost is quadratic in
the rows; use `Baseline.test` or `Monitor` for anything large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from latentwatch.detector.errors import DimensionError
from latentwatch.detector.features import Float64


def gaussian_kernel(x: ArrayLike, y: ArrayLike, bandwidths: ArrayLike) -> Float64:
    """Mean of Gaussian kernels ``exp(-d^2 / (2 b^2))`` [n, m] between rows [n, d] and [m, d]."""
    from scipy.spatial.distance import cdist  # imported here because no worker needs it

    squared = cdist(np.asarray(x, np.float64), np.asarray(y, np.float64), "sqeuclidean")
    kernels = [np.exp(-squared / (2.0 * b * b)) for b in np.atleast_1d(np.asarray(bandwidths))]
    return np.asarray(np.mean(kernels, axis=0))


def mmd_squared(kernel: Float64, first: int) -> float:
    """Unbiased squared MMD (Gretton et al. 2012, equation 3).

    Parameters
    ----------
    kernel : float64 [n + m, n + m]
        Kernel matrix of both samples, the first sample's rows first.
    first : int
        Rows n of the first sample; both samples need two or more.
    """
    n, m = first, len(kernel) - first
    if n < 2 or m < 2:
        raise DimensionError(f"both samples need two rows or more, not {n} and {m}")
    x, y, cross = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within_x = (x.sum() - np.trace(x)) / (n * (n - 1))
    within_y = (y.sum() - np.trace(y)) / (m * (m - 1))
    return float(within_x + within_y - 2.0 * cross.mean())


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bandwidths: ArrayLike,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Exact squared MMD of two samples [n, d] and [m, d], and its permutation p-value.

    The p-value ``(1 + #{permuted >= observed}) / (1 + permutations)`` is valid for any sample
    size (Phipson and Smyth 2010).
    """
    pooled = np.vstack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
    n = len(np.asarray(x))
    kernel = gaussian_kernel(pooled, pooled, bandwidths)
    observed = mmd_squared(kernel, n)
    reached = 0
    for _ in range(permutations):
        order = rng.permutation(len(pooled))
        reached += mmd_squared(kernel[np.ix_(order, order)], n) >= observed
    return observed, (1.0 + reached) / (1.0 + permutations)
