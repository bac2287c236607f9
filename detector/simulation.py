"""Simulated clean streams of baseline rows, for `latentwatch.detector.calibration`.

Streams are permutations of the baseline rows, each featurised by a map fitted without it. Rows are
drawn without replacement, because duplicates in small windows would ruin the threshold. A window of
n of N rows drawn this way varies less than fresh data, by the factor ``1 - n / N``. Deviations are
widened to compensate, or the thresholds of long windows would be far too low.

The streams whose maxima set the threshold have a shifted class mix: one class after another makes
up half of the traffic. Such a shift is benign and must not alarm more often. It is the harder case:
class means are known less well than the mean of all classes, and the squared distances of one class
are less normal than those of many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import BLOCK_ROWS, Float64, Int64
from latentwatch.detector.leave_out import LeftOut
from latentwatch.detector.null import NullModel, surprise
from latentwatch.detector.sketch import TAIL_EDGES

CELL_ROWS = 8
"""Rows of the smallest window with a null distribution for one-off tests."""

WIDEST_SHARE = 0.6
"""Largest share of the baseline rows that a window may draw; the rest would say too little."""

OVERLAP = 3
"""Single windows overlap this often: a stream has few long ones, too few for quantiles."""

REFERENCE_LEVEL = 0.01
"""Requests of the reference shift are as atypical as one clean request in a hundred."""


def shifted_order(groups: Int64, length: int, rng: np.random.Generator) -> Int64:
    """Row numbers [length] of a stream in which one class after another makes up half the traffic.

    A row does not come again as long as enough others are left.
    """
    order = np.empty(0, dtype=np.int64)
    waiting = rng.permutation(len(groups)).astype(np.int64)
    while len(order) < length:
        for group in rng.permutation(groups.max() + 1):
            # the rows at the end of the queue were drawn last
            fresh = waiting[: len(waiting) - min(len(order), len(waiting) // 4)]
            own, other = (fresh[(groups[fresh] == group) == same] for same in (True, False))
            count = min(len(own), len(other)) or max(len(own), len(other))
            chosen = rng.permutation(np.concatenate([own[:count], other[:count]]))
            order = np.concatenate([order, chosen])
            waiting = np.concatenate([waiting[~np.isin(waiting, chosen)], chosen])
    return order[:length]


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums over consecutive rows of a stream; the first axis is the position in the stream."""

    rows: int
    group_counts: Float64
    sums: NDArray[np.float32]
    diagonal: Float64
    lengths: Float64
    tails: Float64

    def windows(self, cells: int, stride: int, skip: int = 0) -> Cells:
        """Sums of `cells` consecutive cells, each `stride` apart, leaving out the first `skip`."""

        def moving(values: NDArray[Any]) -> NDArray[Any]:
            if stride == cells:
                whole = values[: len(values) // cells * cells]
                apart: NDArray[Any] = whole.reshape(-1, cells, *values.shape[1:]).sum(axis=1)
                return apart[skip:]
            total: NDArray[Any] = np.cumsum(values, axis=0)
            total[cells:] -= total[:-cells].copy()
            return total[cells - 1 :][skip::stride]

        return Cells(
            self.rows * cells,
            moving(self.group_counts),
            moving(self.sums),
            moving(self.diagonal),
            moving(self.lengths),
            moving(self.tails),
        )


class Simulation:
    """Simulated clean streams of baseline rows, corrected for their finite number."""

    def __init__(self, rows: LeftOut, null: NullModel) -> None:
        self.rows, self.null = rows, null
        self.groups = np.eye(len(null.counts))[rows.groups]
        self.diagonal = np.einsum("ij,ij->i", rows.psi, rows.psi).astype(np.float64)
        rank = null.typicality.rank(rows.squared_distance, rows.groups)
        # the rank among the others: a row counts itself, where the p-value of a request adds one
        self.below = ((rank / len(rank))[:, None] <= TAIL_EDGES).astype(np.float64)
        counts = null.counts.astype(np.float64)
        # left-out vectors are scaled for their inner products with others, which makes them longer
        # than fresh residuals; this is the excess in the expected T of their class means
        length = self.groups.T @ self.diagonal / counts
        self.excess = (length - null.distance_mean) / counts
        squared_distance = null.typicality.squared_distance_at(REFERENCE_LEVEL)[rows.groups]
        self.far = np.minimum(squared_distance, rows.radius**2)
        self.draw(np.arange(CELL_ROWS), np.ones(len(rows.psi)))

    def draw(
        self, order: Int64, signs: Float64, stretched: NDArray[np.bool_] | None = None
    ) -> None:
        """Lay the rows out as a stream, with a fresh error of the class centres.

        `stretched` marks the positions of the stream that belong to the reference shift.
        """
        # the class centres are estimates: off by the mean of n_c residuals (wild bootstrap)
        weights = (self.groups * signs[:, None] / self.null.counts).astype(np.float32)
        self.centre_error = (weights.T @ self.rows.psi).astype(np.float64)

        def sums(values: NDArray[Any]) -> NDArray[Any]:
            cells: NDArray[Any] = values.reshape(-1, CELL_ROWS, *values.shape[1:]).sum(axis=1)
            return cells

        psi, diagonal = self.rows.psi[order], self.diagonal[order]
        lengths, below = self.rows.lengths[order], self.below[order]
        if stretched is not None:
            factor = np.sqrt(np.where(stretched, self.far[order] / lengths, 1.0))
            psi = psi * factor.astype(np.float32)[:, None]
            diagonal, lengths = diagonal * factor**2, lengths * factor**2
            below = np.where(stretched[:, None], TAIL_EDGES >= REFERENCE_LEVEL, below)
        self.cells = Cells(
            CELL_ROWS,
            sums(self.groups[order]),
            sums(psi),
            sums(diagonal),
            sums(lengths),
            sums(below),
        )

    def single_scores(self, cells: int) -> Float64:
        """Scores of single windows of `cells` cells, a third of a window apart."""
        return self.scores(self.cells.windows(cells, max(1, cells // OVERLAP)))

    def highest_score(self, sizes: tuple[int, ...]) -> float:
        """Highest score of all rolling windows once the longest is full."""
        per_block = BLOCK_ROWS // CELL_ROWS
        blocks = self.cells.windows(per_block, per_block)
        skip = sizes[-1]
        return max(float(self.scores(blocks.windows(k, 1, skip - k)).max()) for k in sizes)

    def scores(self, windows: Cells) -> Float64:
        """Scores [positions] of windows, with the variance that fresh rows would have."""
        n = windows.rows
        # share of the rows of the window's classes; n / N if the mix is that of the baseline
        share = (windows.group_counts**2 / self.null.counts).sum(axis=1) / n
        # variance of a sum of rows drawn without replacement and centred in sample
        shares = windows.group_counts / n
        left = (1.0 - np.minimum(share, WIDEST_SHARE)) * (1.0 + shares @ (1.0 / self.null.counts))
        # E and R are compared with estimates from the same rows, whose error affects fresh rows too
        predictive = np.sqrt((1.0 + share) / left)
        mean = (left**-0.5)[:, None] * windows.sums / n
        mean += shares @ self.centre_error
        T = (np.einsum("ij,ij->i", mean, mean) * n - windows.diagonal / n) / (n - 1)
        squared_distance, expected = windows.lengths / n, shares @ self.null.distance_mean
        tails = windows.group_counts @ self.null.tails
        z = self.null.z_scores(
            np.full(len(squared_distance), float(n)),
            windows.group_counts,
            T=T - shares**2 @ self.excess,
            E=expected + predictive * (squared_distance - expected),
            tails=tails + predictive[:, None] * (windows.tails - tails),
        )
        return np.where(share <= WIDEST_SHARE, surprise(z), -np.inf)
