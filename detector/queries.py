"""How near are a client's queries to one another? A p-value for each, by class and exactly.

Who copies a model asks it about inputs that he makes from one another, by small steps or by mixing;
the queries of honest clients are as far from each other as any inputs of their classes. A query is
compared with reference rows of its predicted class: how many of them are as near to what the
client asked before as the query is? Given its class and what was asked before, an honest query is
exchangeable with the reference rows, so the rank is uniform, whatever mix of classes the client
asks for (conformal prediction; Vovk, Gammerman and Shafer 2005). Distances between successive
queries of a class are the idea of PRADA (Juuti et al. 2019).
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
"""Dimensions that distances are taken in; 32 found nothing that 16 did not."""

REFERENCE_ROWS = 64
"""Reference rows of each class at most; twice as many make alarms two queries earlier."""

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
    """Rows of each class in few dimensions, on a grid of integers; a part of a baseline.

    Parameters
    ----------
    columns : int64 [d]
        Columns of the baseline's raw rows that distances are taken in: those of one layer.
    mean, scale : float32 [d]
        A column is standardised as ``(x - mean) * scale`` and cut at ``CLIP``.
    projection : float32 [d, k]
        Principal directions within the classes, of variance one.
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
            Columns of one layer that vary; the deepest one by preference.
        seed : int
            Which rows of a class become reference rows follows from it.
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

        `place` is where the first row stands in its chunk: elsewhere a coordinate that lies
        halfway between two integers may be rounded to the other one.
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
        """How near each query is to earlier ones, among the reference rows of its class.

        Parameters
        ----------
        points : float32 [n, k]
        groups : int64 [n]
        earlier : float32 [E, k]
            Queries that came before.
        which : int64 [n, m]
            Those that count for each query, by number; -1 for none. Each query has one at least.

        Returns
        -------
        int64 [n]
            1 for a query that is nearer than every reference row, J + 1 for one that is farther.
        """
        parts = [slice(at, at + TOGETHER) for at in range(0, len(points), TOGETHER)]
        found = [self._ranks(points[p], groups[p], earlier, which[p]) for p in parts]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    def _ranks(self, points: Float32, groups: Int64, earlier: Float32, which: Int64) -> Int64:
        missing = which < 0
        memory, reference = earlier[which], self.rows[groups].astype(np.float32)
        own = ((memory - points[:, None]) ** 2).sum(axis=2)
        own[missing] = np.inf
        # all of these are integers below 2**24, so that no order of summation changes them
        others = -2.0 * reference @ memory.transpose(0, 2, 1)
        others += (reference**2).sum(axis=2)[:, :, None]
        others += (memory**2).sum(axis=2)[:, None]
        np.copyto(others, np.inf, where=missing[:, None])
        nearer = others.min(axis=2) <= own.min(axis=1)[:, None]
        ranks: Int64 = nearer.sum(axis=1, dtype=np.int64) + 1
        return ranks

    def wagers(self) -> Float64:
        """Factor float64 [J + 1] by which evidence grows at each rank; of mean one.

        The mixture of all power bets, ``(1 - p + p ln p) / (p (ln p)^2)`` (Vovk and Wang 2021,
        section 2), on the J + 1 values that p can have.
        """
        values = np.arange(1, self.rows.shape[1] + 2) / (self.rows.shape[1] + 1)
        p, logarithm = values[:-1], np.log(values[:-1])
        mixture = np.append((1.0 - p + p * logarithm) / (p * logarithm**2), 0.5)
        wagers: Float64 = mixture / mixture.mean()
        return wagers


def _chosen(groups: Int64, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers [G, J] of the reference rows: as many for each group."""
    count = min(REFERENCE_ROWS, int(np.bincount(groups).min()))
    order = rng.permutation(len(groups))
    return np.stack(
        [order[groups[order] == group][:count] for group in range(int(groups.max()) + 1)]
    )
