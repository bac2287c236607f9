"""LADIS: the batch procedure from which latentwatch originates, as a reference.

Once per hour the original counts how many of 100 small two-sample tests reject. The cost is
quadratic in the rows of a test, 100 times over: use `Baseline.test` for anything but a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from latentwatch.detector.errors import (
    DimensionError,
    NotFiniteError,
    TooFewRowsError,
    UnseenClassError,
)
from latentwatch.detector.features import Float32, Float64, Int64

TRIALS = 100
SAMPLES = 100
BOOTSTRAPS = 100

NARROWEST_TO_WIDEST = 5
"""Kernels in the sum: bandwidths of 1/4, 1/2, 1, 2 and 4 times the median heuristic."""

WIDEST = 4.0

WILD_LENGTH = 0.2
"""Correlation length, in rows, of the process behind the bootstrap: nearly uncorrelated."""


@dataclass(frozen=True, eq=False)
class Ladis:
    """The original procedure on one array of activations; create it with `Ladis.fit`.

    Parameters
    ----------
    rows : float32 [N, d]
        Hold-out rows, standardised; single precision as in the original.
    predicted : int64 [N]
        Their predicted classes.
    mean, spread : float64 [d]
        Moments for standardising rows.
    trials : int
        Tests per window.
    samples : int
        Rows per side of a test.
    bootstraps : int
        Draws of the null distribution per test.

    Notes
    -----
    The public code of the original shows this much. Both sides are standardised with mean and
    standard deviation of the hold-out. In each of 100 trials, `samples` requests are drawn from
    the window without replacement, and as many hold-out rows, each with a weight that is the
    number of requests drawn of its predicted class (so that the class mix follows the window's
    exactly only where the hold-out has as many rows of every class). The statistic is the biased
    squared MMD of the paired samples, ::

        H_ij = k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j),    MMD^2 = mean of H

    with a sum of five Gaussian kernels around the median heuristic, ``sqrt(median |x - y|^2 / 2)``
    of the trial. Its null distribution is the wild bootstrap ``mean of w_i w_j H_ij``, 100 draws
    of a centred process w. The result is the share of trials with a p-value below 0.05, the
    "detection rate"; there is no decision about the window as a whole.

    Choices made here: 100 rows per trial, which the original leaves to the user (its default is
    50). Smaller windows, or those with fewer hold-out rows of their classes, use all rows there
    are. The p-value of a trial is ``(1 + #{null >= observed}) / (1 + bootstraps)``, never 0;
    at levels that are multiples of 0.01 it rejects what the original's rejects. The p-value of a
    window is the median of its trials. It is at most alpha if more than half of them reject at
    alpha, that is, at a detection rate above 50 %. Levels below 1/101 cannot be reached.

    References
    ----------
    Chwialkowski, Sejdinovic and Gretton 2014: A wild bootstrap for degenerate kernel tests.
    """

    rows: Float32
    predicted: Int64
    mean: Float64
    spread: Float64
    trials: int = TRIALS
    samples: int = SAMPLES
    bootstraps: int = BOOTSTRAPS

    @classmethod
    def fit(
        cls,
        rows: ArrayLike,
        predicted: ArrayLike,
        *,
        trials: int = TRIALS,
        samples: int = SAMPLES,
        bootstraps: int = BOOTSTRAPS,
    ) -> Ladis:
        """Store the hold-out: rows [N, d] and predicted classes [N]."""
        raw, classes = _checked(rows, predicted, None)
        mean, spread = raw.mean(axis=0), raw.std(axis=0)
        spread = np.where(spread > 0.0, spread, 1.0)
        standard = ((raw - mean) / spread).astype(np.float32)
        return cls(standard, classes, mean, spread, trials, samples, bootstraps)

    def p_value(self, rows: ArrayLike, predicted: ArrayLike, rng: np.random.Generator) -> float:
        """Median p-value of the trials on a window of rows [n, d] and predicted classes [n]."""
        return float(np.median(self.trial_p_values(rows, predicted, rng)))

    def trial_p_values(
        self, rows: ArrayLike, predicted: ArrayLike, rng: np.random.Generator
    ) -> Float64:
        """P-value [trials] of each trial; the original reports the share of small ones."""
        raw, classes = _checked(rows, predicted, self.rows.shape[1])
        window = ((raw - self.mean) / self.spread).astype(np.float32)
        return np.array([self._trial(window, classes, rng) for _ in range(self.trials)])

    def _trial(self, window: Float32, classes: Int64, rng: np.random.Generator) -> float:
        drawn = rng.choice(len(window), min(len(window), self.samples), replace=False)
        held_out = self.resample(classes[drawn], rng)
        x, y = self.rows[held_out], window[drawn[: len(held_out)]]
        return wild_bootstrap_p_value(x, y, self.bootstraps, rng)

    def resample(self, classes: Int64, rng: np.random.Generator) -> Int64:
        """Draw hold-out rows [n] with the class mix of the predicted classes [n] of some requests.

        Fewer than n if the hold-out has fewer rows of these classes.
        """
        largest = int(self.predicted.max())
        weights = np.bincount(classes, minlength=largest + 1)[self.predicted]
        eligible = int(np.count_nonzero(weights))
        if eligible < 2:
            raise UnseenClassError(
                f"the hold-out has {eligible} rows of the predicted classes "
                f"{', '.join(map(str, np.unique(classes)))}; collect more of them"
            )
        size = min(len(classes), eligible)
        drawn = rng.choice(len(self.rows), size, replace=False, p=weights / weights.sum())
        return drawn.astype(np.int64)


def wild_bootstrap_p_value(
    x: Float32, y: Float32, bootstraps: int, rng: np.random.Generator
) -> float:
    """P-value of the biased squared MMD of two samples [n, d] of equal size; never 0."""
    n = len(x)
    kernel = sum_of_kernels(squared_distances(np.vstack([x, y])), n)
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[n:, :n]
    process = wild_process(n, bootstraps, rng)
    null = np.einsum("ib,ib->b", process, h @ process)
    return (1.0 + int(np.count_nonzero(null >= h.sum()))) / (1.0 + bootstraps)


def squared_distances(rows: Float32) -> Float32:
    """Squared distances [n, n] of rows [n, d], by a matrix product for speed."""
    lengths = np.einsum("ij,ij->i", rows, rows)
    squared: Float32 = np.maximum(lengths[:, None] + lengths - 2.0 * (rows @ rows.T), 0.0)
    np.fill_diagonal(squared, 0.0)
    return squared


def sum_of_kernels(squared: Float32, n: int) -> Float32:
    """Sum of the Gaussian kernels [2n, 2n], with the median distance between the samples.

    Halving a bandwidth raises the kernel to the fourth power, which costs less than `exp`.
    """
    # equal rows have no scale; any will do
    median = max(float(np.median(squared[:n, n:])), 1e-12)
    kernel = np.exp(squared / np.float32(-(WIDEST**2) * median))
    total: Float32 = kernel.copy()
    for _ in range(NARROWEST_TO_WIDEST - 1):
        np.square(kernel, out=kernel)
        np.square(kernel, out=kernel)
        total += kernel
    return total


def wild_process(n: int, bootstraps: int, rng: np.random.Generator) -> Float32:
    """Independent centred processes [n, bootstraps] of variance one, nearly uncorrelated."""
    # imported here because it takes a third of a second
    from scipy.signal import lfilter

    correlation = float(np.exp(-1.0 / WILD_LENGTH))
    scale = np.float32(np.sqrt(1.0 - correlation**2))
    noise = scale * rng.standard_normal((n, bootstraps), dtype=np.float32)
    process = np.asarray(lfilter([1.0], [1.0, -correlation], noise, axis=0), dtype=np.float32)
    return np.asarray(process - process.mean(axis=0))


def _checked(rows: ArrayLike, predicted: ArrayLike, width: int | None) -> tuple[Float64, Int64]:
    found, classes = np.asarray(rows, dtype=np.float64), np.asarray(predicted)
    if found.ndim != 2 or classes.shape != found.shape[:1]:
        raise DimensionError(
            f"rows of shape {found.shape} and predictions of shape {classes.shape} do not match; "
            "give [n, d] and [n]"
        )
    if width is not None and found.shape[1] != width:
        raise DimensionError(f"rows have {found.shape[1]} columns, the hold-out has {width}")
    if len(found) < 2:
        raise TooFewRowsError(f"a test needs two rows or more, not {len(found)}")
    if not np.isfinite(found).all():
        raise NotFiniteError("some rows are not finite; leave such requests out")
    if not np.issubdtype(classes.dtype, np.integer) or int(classes.min()) < 0:
        raise UnseenClassError("predicted classes must be integers of at least 0")
    return found, classes.astype(np.int64)
