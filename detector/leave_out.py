"""Leave-one-out residuals: baseline rows as a feature map fitted without them would see them.

The rows on which class means and whitening were fitted look too typical to the map, and thresholds
set on them would alarm all the time. Setting rows aside for calibration would avoid that and waste
them. Here every row is left out of the fit in turn, without a second fit. With the within-class
scatter ``W`` of N rows in G groups, ``v = N - G`` and ``M = W / v + kappa I``, leaving out row i of
a group of ``n_c`` takes ``a x_i x_i'`` from W and turns its residual into ``a x_i``, with
``a = n_c / (n_c - 1)``. By the formula of Sherman and Morrison (1950), with ``h = x' M^-1 x``:

    squared distance of i without i     a^2 (v - 1)/v h_i / (1 - a h_i / v)
    <psi_i, psi_j> without i and j      a_i a_j (v - 2)/v k_ij / ((1 - a_i h_i/v) (1 - a_j h_j/v))

The second neglects terms of the order ``k_ij^2 / v^2`` against one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import Float32, Int64


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Baseline rows as the map would see them if they were fresh.

    Parameters
    ----------
    groups : int64 [N]
        Class group of each row.
    squared_distance : float32 [N]
        Squared Mahalanobis distance of each row under the map fitted without it.
    psi : float32 [N, r]
        Vectors whose inner products are those of residuals under the map fitted without the pair;
        shortened to the radius as fresh residuals are, and centred within each group.
    lengths : float64 [N]
        ``||psi||^2`` that a fresh row would add to q: its squared distance, at most the squared
        radius.
    radius : float
    """

    groups: Int64
    squared_distance: Float32
    psi: Float32
    lengths: NDArray[np.float64]
    radius: float


def leave_out(in_sample: Float32, groups: Int64, radius_quantile: float) -> LeftOut:
    """Correct residuals [N, r] exactly for the fact that the map was fitted on these rows.

    `radius_quantile` is the share of rows that keep their full length.
    """
    counts = np.bincount(groups)
    degrees = len(groups) - len(counts)
    factor = (counts / (counts - 1.0))[groups]
    leverage = np.einsum("ij,ij->i", in_sample, in_sample, dtype=np.float64)
    remainder = np.maximum(1.0 - factor * leverage / degrees, 1e-3)
    squared_distance = factor**2 * (degrees - 1) / degrees * leverage / remainder
    radius = float(np.sqrt(np.quantile(squared_distance, radius_quantile)))
    shrink = np.minimum(1.0, radius / np.sqrt(np.maximum(squared_distance, 1e-30)))
    scale = factor * np.sqrt((degrees - 2) / degrees) / remainder * shrink
    psi = in_sample * scale.astype(np.float32)[:, None]
    centres = np.zeros((len(counts), psi.shape[1]))
    np.add.at(centres, groups, psi)
    psi -= (centres / counts[:, None]).astype(np.float32)[groups]
    return LeftOut(
        groups,
        squared_distance.astype(np.float32),
        psi,
        np.minimum(squared_distance, radius**2),
        radius,
    )
