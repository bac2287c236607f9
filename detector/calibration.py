"""Thresholds from simulated clean streams, never guessed.

Streams are permutations of the baseline rows, each seen by a map fitted without it; they are
drawn without replacement, for duplicates in small windows would ruin the threshold. A window of n
of N rows drawn so varies less than fresh data, by the factor ``1 - n / N``; the deviations are
widened to undo that, or the thresholds of long windows would be far too low.

Every other stream has a shifted class mix, for that is benign and must not alarm more often: one
class after another makes half of the traffic. Class means are known less well than the mean of all
classes, and the energies of one class are less normal than those of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import BaselineError
from detector.features import BLOCK_ROWS, Float64, Int64
from detector.leave_out import LeftOut
from detector.null import NullModel, surprise
from detector.sketch import TAIL_EDGES

CELL_ROWS = 8
"""Rows of the smallest window that a one-off test has a null distribution for."""

LONGEST_RUN = 8192
"""Requests of one simulated stream at most."""

LEAST_RUNS = 100
"""Simulated streams at least, for the tail of their maxima."""

WIDEST_SHARE = 0.6
"""Largest share of their baseline rows that windows may draw: what is left says little of them."""

KEPT_SCORES = 4000
"""Scores of single windows that are kept of each size."""

LEAST_RUN_LENGTH = 256
"""Shortest average run length that a ring of blocks can keep."""

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


def window_blocks(longest: int) -> tuple[int, ...]:
    """Numbers of blocks of the rolling windows: powers of two up to `longest` rows."""
    blocks = longest // BLOCK_ROWS
    return tuple(2**k for k in range(blocks.bit_length()) if 2**k <= blocks)


@dataclass(frozen=True, slots=True)
class RunLengths:
    """How high the score of clean traffic climbs while L requests pass.

    Parameters
    ----------
    maxima : float64 [runs]
        Largest score of each simulated run, ascending.
    requests : int
        Requests L of a run in which all windows are full.
    """

    maxima: Float64
    requests: int

    TAIL = 0.2
    """Share of the runs that the exponential tail is fitted to."""

    def threshold(self, average_run_length: float) -> float:
        """Score b with ``P(max over L requests < b) = exp(-L / average_run_length)``.

        Inside the simulated range this is the empirical quantile; beyond it the tail is
        continued as an exponential, which the score (a logarithm of a probability) has.
        """
        if not LEAST_RUN_LENGTH <= average_run_length < np.inf:
            raise BaselineError(
                f"average_run_length must be at least {LEAST_RUN_LENGTH} requests, "
                f"not {average_run_length:g}: state how many benign requests should pass, on "
                "average, between two false alarms"
            )
        exceedance = -np.expm1(-self.requests / average_run_length)
        if exceedance >= self.TAIL:
            return float(np.quantile(self.maxima, 1.0 - exceedance))
        start, mean_excess = self.tail()
        return float(start + mean_excess * np.log(self.TAIL / exceedance))

    def interval(self, average_run_length: float) -> tuple[float, float]:
        """Roughly 95 % interval of the run length that the threshold really has.

        Inside the simulated range: two standard errors of the share of runs beyond the threshold.
        In the tail: two of the fitted mean excess (an exponential's is one over the root of the
        runs it is fitted to) moved through the extrapolation.
        """
        exceedance = -np.expm1(-self.requests / average_run_length)
        if exceedance >= self.TAIL:
            error = 2.0 * np.sqrt(exceedance * (1.0 - exceedance) / len(self.maxima))
            shares = np.clip([exceedance + error, exceedance - error], 0.0, 1.0)
            with np.errstate(divide="ignore"):
                shortest, longest = -self.requests / np.log1p(-shares)
            return float(shortest), float(longest)
        start, mean_excess = self.tail()
        excess = self.threshold(average_run_length) - start
        runs = self.TAIL * len(self.maxima)
        factors = [
            np.exp(excess / mean_excess * (1 / (1 + s / np.sqrt(runs)) - 1)) for s in (2, -2)
        ]
        error = 2.0 / np.sqrt(runs)
        return (
            float(average_run_length * factors[0] / (1 + error)),
            float(average_run_length * factors[1] * (1 + error)),
        )

    def tail(self) -> tuple[float, float]:
        """Where the tail starts, and the mean excess of the maxima beyond."""
        start = float(np.quantile(self.maxima, 1.0 - self.TAIL))
        return start, float((self.maxima[self.maxima > start] - start).mean())


@dataclass(frozen=True, slots=True)
class Calibration:
    """Simulated null distributions of the deciding views.

    Parameters
    ----------
    window_scores : dict of int to float64 [B]
        Scores of single clean windows by number of rows, ascending.
    run_lengths : RunLengths
    """

    window_scores: dict[int, Float64]
    run_lengths: RunLengths

    def p_value(self, rows: int, score: float) -> float:
        """``(1 + #{null >= score}) / (1 + B)`` for a window of so many rows: never zero.

        Between two sizes that were simulated it is interpolated in the logarithm of the rows.
        """
        sizes = sorted(self.window_scores)
        p_values = [self._p_value_of(size, score) for size in sizes]
        return float(np.interp(np.log(rows), np.log(sizes), p_values))

    def _p_value_of(self, size: int, score: float) -> float:
        null = self.window_scores[size]
        reached = len(null) - int(np.searchsorted(null, score, side="left"))
        return (1.0 + reached) / (1.0 + len(null))


def calibrate(
    views: Sequence[tuple[LeftOut, NullModel]],
    longest: int,
    simulated_requests: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Calibration:
    """Simulate clean streams from baseline rows, each left out, and collect their scores.

    Parameters
    ----------
    views
        The deciding views; they meet the same rows in the same order, so that no independence
        between them is assumed.
    longest : int
        Rows of the longest window; at most half of the baseline rows.
    simulated_requests : int
        Length of all simulated streams together.
    """
    simulations = [_Simulation(rows, null) for rows, null in views]
    baseline_rows = len(views[0][0].psi)
    sizes = window_blocks(longest)
    length = min(baseline_rows, LONGEST_RUN)
    runs = max(LEAST_RUNS, -(-simulated_requests // length))
    maxima = np.empty(runs)
    scores: dict[int, list[Float64]] = {n: [] for n in _single_sizes(sizes)}
    groups = views[0][0].groups
    for run in range(runs):
        mixed = run % 2 == 0
        order = rng.permutation(baseline_rows) if mixed else shifted_order(groups, length, rng)
        signs = rng.choice(np.array([-1.0, 1.0]), baseline_rows)
        for simulation in simulations:
            simulation.draw(order[: length // CELL_ROWS * CELL_ROWS], signs)
        for n, found in scores.items() if mixed else ():
            cells = n // CELL_ROWS
            found.append(np.max([s.single_scores(cells) for s in simulations], axis=0))
        maxima[run] = max(s.highest_score(sizes) for s in simulations)
        if progress is not None:
            progress(run + 1, runs)
    steps = length // BLOCK_ROWS - sizes[-1] + 1
    kept = {n: np.sort(np.concatenate(found)[:KEPT_SCORES]) for n, found in scores.items()}
    return Calibration(kept, RunLengths(np.sort(maxima), steps * BLOCK_ROWS))


def shifted_order(groups: Int64, length: int, rng: np.random.Generator) -> Int64:
    """Row numbers [length] of a stream in which one class after another makes half of the traffic.

    A row that came is kept away as long as enough others are left.
    """
    order = np.empty(0, dtype=np.int64)
    waiting = rng.permutation(len(groups)).astype(np.int64)
    while len(order) < length:
        for group in rng.permutation(groups.max() + 1):
            # those at the end of the queue came last
            fresh = waiting[: len(waiting) - min(len(order), len(waiting) // 4)]
            own, other = (fresh[(groups[fresh] == group) == same] for same in (True, False))
            count = min(len(own), len(other)) or max(len(own), len(other))
            chosen = rng.permutation(np.concatenate([own[:count], other[:count]]))
            order = np.concatenate([order, chosen])
            waiting = np.concatenate([waiting[~np.isin(waiting, chosen)], chosen])
    return order[:length]


def _single_sizes(sizes: tuple[int, ...]) -> list[int]:
    return [8, 16, *(k * BLOCK_ROWS for k in sizes)]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Sums over consecutive rows of a stream; the first axis is the place in the stream."""

    rows: int
    group_counts: Float64
    sums: NDArray[np.float32]
    diagonal: Float64
    lengths: Float64
    tails: Float64

    def windows(self, cells: int, stride: int, skip: int = 0) -> _Cells:
        """Sums of `cells` consecutive cells, each `stride` apart, leaving out the first `skip`."""

        def moving(values: NDArray[Any]) -> NDArray[Any]:
            if stride == cells:
                whole = values[: len(values) // cells * cells]
                apart: NDArray[Any] = whole.reshape(-1, cells, *values.shape[1:]).sum(axis=1)
                return apart[skip:]
            total: NDArray[Any] = np.cumsum(values, axis=0)
            total[cells:] -= total[:-cells].copy()
            return total[cells - 1 :][skip:]

        return _Cells(
            self.rows * cells,
            moving(self.group_counts),
            moving(self.sums),
            moving(self.diagonal),
            moving(self.lengths),
            moving(self.tails),
        )


class _Simulation:
    """Clean streams out of baseline rows, corrected for their finite number."""

    def __init__(self, rows: LeftOut, null: NullModel) -> None:
        self.rows, self.null = rows, null
        self.groups = np.eye(len(null.counts))[rows.groups]
        self.diagonal = np.einsum("ij,ij->i", rows.psi, rows.psi).astype(np.float64)
        rank = null.typicality.rank(rows.energy, rows.groups)
        # a row's rank among the others: it counts itself, a new request's p-value adds one
        self.below = ((rank / len(rank))[:, None] <= TAIL_EDGES).astype(np.float64)
        self.draw(np.arange(CELL_ROWS), np.ones(len(rows.psi)))

    def draw(self, order: Int64, signs: Float64) -> None:
        """Lay the rows out as a stream, compared with class centres that are off anew."""
        # the class centres are estimates: off by the mean of n_c residuals (wild bootstrap)
        weights = (self.groups * signs[:, None] / self.null.counts).astype(np.float32)
        self.centre_error = (weights.T @ self.rows.psi).astype(np.float64)

        def sums(values: NDArray[Any]) -> NDArray[Any]:
            cells: NDArray[Any] = (
                values[order].reshape(-1, CELL_ROWS, *values.shape[1:]).sum(axis=1)
            )
            return cells

        self.cells = _Cells(
            CELL_ROWS,
            sums(self.groups),
            sums(self.rows.psi),
            sums(self.diagonal),
            sums(self.rows.lengths),
            sums(self.below),
        )

    def single_scores(self, cells: int) -> Float64:
        """Scores of windows of so many cells that do not overlap."""
        return self.scores(self.cells.windows(cells, cells))

    def highest_score(self, sizes: tuple[int, ...]) -> float:
        """Highest score of all rolling windows, once the longest is full."""
        per_block = BLOCK_ROWS // CELL_ROWS
        blocks = self.cells.windows(per_block, per_block)
        skip = sizes[-1]
        return max(float(self.scores(blocks.windows(k, 1, skip - k)).max()) for k in sizes)

    def scores(self, windows: _Cells) -> Float64:
        """Scores [places] of windows, with the variance that fresh rows would have had."""
        n = windows.rows
        # of the rows that the window's classes have; n / N where the mix is that of the baseline
        share = (windows.group_counts**2 / self.null.counts).sum(axis=1) / n
        left = 1.0 - np.minimum(share, WIDEST_SHARE)
        # E and R are compared with estimates from these very rows, whose error fresh rows meet too
        predictive = np.sqrt((1.0 + share) / left)
        mean = (left**-0.5)[:, None] * windows.sums / n
        mean += windows.group_counts / n @ self.centre_error
        energy, expected = windows.lengths / n, windows.group_counts @ self.null.energy_mean / n
        tails = windows.group_counts @ self.null.tails
        z = self.null.z_scores(
            np.full(len(energy), float(n)),
            windows.group_counts,
            T=(np.einsum("ij,ij->i", mean, mean) * n - windows.diagonal / n) / (n - 1),
            E=expected + predictive * (energy - expected),
            tails=tails + predictive[:, None] * (windows.tails - tails),
        )
        return np.where(share <= WIDEST_SHARE, surprise(z), -np.inf)
