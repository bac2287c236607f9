"""Calibration: thresholds from simulated clean streams.

It draws streams of baseline rows (`detector.simulation`) and records how high their scores climb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latentwatch.detector.errors import BaselineError
from latentwatch.detector.features import BLOCK_ROWS, Float64, Int64
from latentwatch.detector.leave_out import LeftOut
from latentwatch.detector.null import NullModel
from latentwatch.detector.simulation import CELL_ROWS, Simulation, shifted_order

LONGEST_RUN = 8192
"""Most requests of one simulated stream."""

MIXED_RUN = 3
"""Every so many streams, one of the baseline's own class mix is drawn for single windows."""

LEAST_RUNS = 100
"""Fewest simulated streams, for the tail of their maxima."""

KEPT_SCORES = 4000
"""Scores of single windows kept per size."""

REFERENCE_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Shares of shifted requests in the windows whose scores are kept."""

REFERENCE_STREAMS = 8
"""Simulated streams per share."""

MOST_EXTRAPOLATED = 100
"""Longest average run length as a multiple of the simulated requests; further extrapolation of the
tail is unreliable."""

TAIL_EXPONENT = 1.08
"""Baseline rows are few and drawn without replacement, so their highest scores have a lighter tail
than those of fresh traffic. For a tenfold run length, 1,000 to 10,000, only about seven times as
many requests passed between two false alarms (twelve splits of each of two data sets,
docs/detection.md). Run lengths are therefore raised to this power, in units of `TAIL_UNIT`."""

TAIL_UNIT = 1_000.0

LEAST_RUN_LENGTH = 256
"""Shortest average run length that a ring of blocks can maintain."""

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the total."""


def lengthened(average_run_length: float) -> float:
    """Run length of simulated streams that gives fresh traffic the requested one."""
    tens = max(1.0, average_run_length / TAIL_UNIT)
    return float(average_run_length * tens ** (TAIL_EXPONENT - 1.0))


def window_blocks(longest: int) -> tuple[int, ...]:
    """Numbers of blocks of the rolling windows: powers of two up to `longest` rows."""
    blocks = longest // BLOCK_ROWS
    return tuple(2**k for k in range(blocks.bit_length()) if 2**k <= blocks)


@dataclass(frozen=True, slots=True)
class RunLengths:
    """How high the score of clean traffic climbs within L requests.

    Parameters
    ----------
    maxima : float64 [runs]
        Highest score of each simulated run, ascending.
    requests : int
        Requests L of a run during which all windows are full.
    """

    maxima: Float64
    requests: int

    TAIL = 0.2
    """Share of the runs to which the exponential tail is fitted."""

    @property
    def longest(self) -> float:
        """Longest average run length that the simulation supports."""
        return float(MOST_EXTRAPOLATED * self.requests * len(self.maxima))

    def threshold(self, average_run_length: float) -> float:
        """Score b with ``P(max over L requests < b) = exp(-L / lengthened(average_run_length))``.

        Inside the simulated range this is the empirical quantile. Beyond it, an exponential
        continues the tail, as befits a score that is the logarithm of a probability.
        """
        if not LEAST_RUN_LENGTH <= average_run_length < np.inf:
            raise BaselineError(
                f"average_run_length must be at least {LEAST_RUN_LENGTH} requests, "
                f"not {average_run_length:g}: state how many benign requests should pass, on "
                "average, between two false alarms"
            )
        if average_run_length > self.longest:
            raise BaselineError(
                f"an average run length of {average_run_length:,.0f} requests per lane cannot be "
                f"promised: {self.requests * len(self.maxima):,} simulated requests support up to "
                f"{self.longest:,.0f}; fit with more simulated_requests (--simulated-requests), or "
                "choose a shorter run length"
            )
        exceedance = self._exceedance(average_run_length)
        if exceedance >= self.TAIL:
            return float(np.quantile(self.maxima, 1.0 - exceedance))
        start, mean_excess = self.tail()
        return float(start + mean_excess * np.log(self.TAIL / exceedance))

    def _exceedance(self, average_run_length: float) -> float:
        """Share of the simulated runs that may reach the threshold."""
        return float(-np.expm1(-self.requests / lengthened(average_run_length)))

    def interval(self, average_run_length: float) -> tuple[float, float]:
        """Approximate 95 % interval of the actual run length at the threshold.

        Inside the simulated range: two standard errors of the share of runs beyond the threshold.
        In the tail: two standard errors of the fitted mean excess (for an exponential, one over
        the root of the number of runs), propagated through the extrapolation.
        """
        exceedance = self._exceedance(average_run_length)
        if exceedance >= self.TAIL:
            error = 2.0 * np.sqrt(exceedance * (1.0 - exceedance) / len(self.maxima))
            shares = np.clip([exceedance + error, exceedance - error], 0.0, 1.0)
            with np.errstate(divide="ignore"):
                shortest, longest = -self.requests / np.log1p(-shares)
            factor = average_run_length / lengthened(average_run_length)
            return float(shortest * factor), float(longest * factor)
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
        """Start of the tail, and the mean excess of the maxima beyond it."""
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
    reference_scores : dict of int to float64 [len(REFERENCE_SHARES), windows]
        Scores of windows by number of rows, with a share of the reference shift: residuals keep
        their direction and get the length that one clean request in a hundred exceeds.
    """

    window_scores: dict[int, Float64]
    run_lengths: RunLengths
    reference_scores: dict[int, Float64]

    def power(self, rows: int, threshold: float) -> Float64:
        """Share of windows of `rows` rows that reach the threshold, by `REFERENCE_SHARES`."""
        reached: Float64 = np.mean(self.reference_scores[rows] >= threshold, axis=1)
        return reached

    def smallest_share(self, rows: int, threshold: float, power: float = 0.9) -> float | None:
        """Smallest of the `REFERENCE_SHARES` detected with this power; None if there is none."""
        seen = np.flatnonzero(self.power(rows, threshold) >= power)
        return REFERENCE_SHARES[int(seen[0])] if len(seen) else None

    def p_value(self, rows: int, score: float) -> float:
        """``(1 + #{null >= score}) / (1 + B)`` for a window of `rows` rows; never zero.

        Between two simulated sizes it is interpolated in the logarithm of the rows.
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
    """Simulate clean streams of left-out baseline rows, and collect their scores.

    Parameters
    ----------
    views
        The deciding views. They see the same rows in the same order, so no independence between
        them is assumed.
    longest : int
        Rows of the longest window; at most half of the baseline rows.
    simulated_requests : int
        Total length of all simulated streams.
    """
    simulations = [Simulation(rows, null) for rows, null in views]
    baseline_rows = len(views[0][0].psi)
    sizes = window_blocks(longest)
    length = min(baseline_rows, LONGEST_RUN)
    runs = max(LEAST_RUNS, -(-simulated_requests // length))
    maxima = np.empty(runs)
    scores: dict[int, list[Float64]] = {n: [] for n in _single_sizes(sizes)}
    groups = views[0][0].groups

    def draw(order: Int64) -> None:
        signs = rng.choice(np.array([-1.0, 1.0]), baseline_rows)
        for simulation in simulations:
            simulation.draw(order[: length // CELL_ROWS * CELL_ROWS], signs)

    for run in range(runs):
        if run % MIXED_RUN == 0:
            draw(rng.permutation(baseline_rows))
            for n, found in scores.items():
                cells = n // CELL_ROWS
                found.append(np.max([s.single_scores(cells) for s in simulations], axis=0))
        # a change of the class mix is benign: the run length must hold for the least favourable mix
        draw(shifted_order(groups, length, rng))
        maxima[run] = max(s.highest_score(sizes) for s in simulations)
        if progress is not None:
            progress(run + 1, runs)
    steps = length // BLOCK_ROWS - sizes[-1] + 1
    kept = {n: np.sort(np.concatenate(found)[:KEPT_SCORES]) for n, found in scores.items()}
    return Calibration(
        kept,
        RunLengths(np.sort(maxima), steps * BLOCK_ROWS),
        _reference_scores(simulations, sizes, length, rng),
    )


def _reference_scores(
    simulations: Sequence[Simulation],
    sizes: tuple[int, ...],
    length: int,
    rng: np.random.Generator,
) -> dict[int, Float64]:
    """Scores of windows with each share of the reference shift, by size."""
    cells = {k * BLOCK_ROWS: k * BLOCK_ROWS // CELL_ROWS for k in sizes}
    whole = length // CELL_ROWS * CELL_ROWS
    found: dict[int, list[Float64]] = {n: [] for n in cells}
    for share in REFERENCE_SHARES:
        drawn: dict[int, list[Float64]] = {n: [] for n in cells}
        for _ in range(REFERENCE_STREAMS):
            rows = len(simulations[0].rows.psi)
            order = rng.permutation(rows)[:whole]
            signs = rng.choice(np.array([-1.0, 1.0]), rows)
            stretched = rng.random(whole) < share
            for simulation in simulations:
                simulation.draw(order, signs, stretched)
            for n, count in cells.items():
                drawn[n].append(np.max([s.single_scores(count) for s in simulations], axis=0))
        for n, scores in drawn.items():
            found[n].append(np.concatenate(scores))
    return {n: np.stack(scores) for n, scores in found.items()}


def _single_sizes(sizes: tuple[int, ...]) -> list[int]:
    return [8, 16, *(k * BLOCK_ROWS for k in sizes)]
