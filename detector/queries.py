"""Query distances: an exact p-value, by class, for how near a client's queries are to one another.

Model extraction derives its inputs from one another, by small steps or by mixing. The queries of
honest clients are as far apart as any inputs of their classes. A query is compared with reference
rows of its predicted class: how many of them are as near to the client's earlier queries as this
one? Given its class and the earlier queries, an honest query is exchangeable with the reference
rows, so the rank is uniform for any mix of classes (conformal prediction; Vovk, Gammerman and
Shafer 2005). The use of distances between successive queries of a class follows PRADA (Juuti et
al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import (
    CLIP,
    Float32,
    Float64,
    Int16,
    Int64,
    chunks,
    group_means,
    placed,
)

DIRECTIONS = 16
"""Dimensions in which distances are measured; 32 found nothing that 16 did not."""

REFERENCE_ROWS = 64
"""Most reference rows per class; twice as many raise alarms only two queries earlier."""

STEPS = 32
"""Grid steps of a coordinate per standard deviation."""

LARGEST = 256
"""Largest coordinate in grid steps: squared distances stay below 2**24, exact in float32."""

LEAST_VARIANCE = 1e-3
"""Added to the variance of a direction, in units of the largest."""

TOGETHER = 256
"""Queries whose distances are computed together; it bounds the memory."""


@dataclass(frozen=True, eq=False)
class QueryReference:
    """Reference rows of each class in few dimensions, on an integer grid; part of a baseline.

    Parameters
    ----------
    columns : int64 [d]
        Columns of the baseline's raw rows in which distances are measured: those of one layer.
    mean, scale : float32 [d]
        A column is standardised as ``(x - mean) * scale`` and clipped at ``CLIP``.
    projection : float32 [d, k]
        Principal within-class directions, scaled to variance one.
    rows : int16 [G, J, k]
        Reference rows of each group.
    """

    columns: Int64
    mean: Float32
    scale: Float32
    projection: Float32
    rows: Int16

    @classmethod
    def fit(cls, rows: Float32, groups: Int64, columns: Int64, *, seed: int) -> QueryReference:
        """Fit on the raw rows of a baseline.

        Parameters
        ----------
        rows : float32 [N, all columns]
        groups : int64 [N]
            Class group of each row.
        columns : int64 [d]
            Varying columns of one layer, preferably the deepest.
        seed : int
            Determines which rows of a class become reference rows.
        """
        exact = rows[:, columns].astype(np.float64)
        mean, scale = exact.mean(axis=0), 1.0 / exact.std(axis=0)
        standard = np.clip((exact - mean) * scale, -CLIP, CLIP)
        residuals = standard - group_means(standard, groups, int(groups.max()) + 1)[groups]
        variances, directions = np.linalg.eigh(residuals.T @ residuals / len(residuals))
        count = min(DIRECTIONS, len(variances))
        kept = np.maximum(variances[::-1][:count], 0.0) + LEAST_VARIANCE * variances[-1]
        unfinished = cls(
            columns,
            mean.astype(np.float32),
            scale.astype(np.float32),
            (directions[:, ::-1][:, :count] / np.sqrt(kept)).astype(np.float32),
            np.empty((0, 0, count), dtype=np.int16),
        )
        points = unfinished.points(rows).astype(np.int16)
        return replace(unfinished, rows=points[_chosen(groups, np.random.default_rng(seed))])

    @property
    def dimensions(self) -> int:
        """Number k of coordinates."""
        return int(self.projection.shape[1])

    def points(self, rows: Float32, place: int = 0) -> Float32:
        """Coordinates float32 [n, k] of raw rows [n, all columns], integers.

        `place` is the position of the first row in its chunk. At another position a coordinate
        halfway between two integers may be rounded the other way.
        """
        found = np.empty((len(rows), self.dimensions), dtype=np.float32)
        for chunk, own in chunks(len(rows), place):
            known = placed(rows[chunk][:, self.columns], own.start)
            with np.errstate(over="ignore"):
                standard = (known - self.mean) * self.scale
            projected = np.clip(standard, -CLIP, CLIP) @ self.projection
            found[chunk] = projected[own]
        on_grid: Float32 = np.clip(np.rint(STEPS * found), -LARGEST, LARGEST)
        return on_grid

    def ranks(self, points: Float32, groups: Int64, earlier: Float32, which: Int64) -> Int64:
        """Rank of each query's distance to earlier ones among the reference rows of its class.

        Parameters
        ----------
        points : float32 [n, k]
        groups : int64 [n]
        earlier : float32 [E, k]
            Earlier queries.
        which : int64 [n, m]
            Indices of the earlier queries that count for each query, at least one; -1 for none.

        Returns
        -------
        int64 [n]
            1 if the query is nearer than every reference row, J + 1 if it is farther than all.
        """
        parts = [slice(at, at + TOGETHER) for at in range(0, len(points), TOGETHER)]
        found = [self._ranks(points[p], groups[p], earlier, which[p]) for p in parts]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    def _ranks(self, points: Float32, groups: Int64, earlier: Float32, which: Int64) -> Int64:
        missing = which < 0
        memory, reference = earlier[which], self.rows[groups].astype(np.float32)
        own = ((memory - points[:, None]) ** 2).sum(axis=2)
        own[missing] = np.inf
        # all of these are integers below 2**24, so the order of summation does not matter
        others = -2.0 * reference @ memory.transpose(0, 2, 1)
        others += (reference**2).sum(axis=2)[:, :, None]
        others += (memory**2).sum(axis=2)[:, None]
        np.copyto(others, np.inf, where=missing[:, None])
        nearer = others.min(axis=2) <= own.min(axis=1)[:, None]
        ranks: Int64 = nearer.sum(axis=1, dtype=np.int64) + 1
        return ranks

    def wagers(self) -> Float64:
        """Factor float64 [J + 1] by which evidence grows at each rank; the mean is one.

        The mixture of all power bets, ``(1 - p + p ln p) / (p (ln p)^2)`` (Vovk and Wang 2021,
        section 2), on the J + 1 possible values of p.
        """
        values = np.arange(1, self.rows.shape[1] + 2) / (self.rows.shape[1] + 1)
        p, logarithm = values[:-1], np.log(values[:-1])
        mixture = np.append((1.0 - p + p * logarithm) / (p * logarithm**2), 0.5)
        wagers: Float64 = mixture / mixture.mean()
        return wagers


def _chosen(groups: Int64, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers [G, J] of the reference rows, the same number for each group."""
    count = min(REFERENCE_ROWS, int(np.bincount(groups).min()))
    order = rng.permutation(len(groups))
    return np.stack(
        [order[groups[order] == group][:count] for group in range(int(groups.max()) + 1)]
    )
