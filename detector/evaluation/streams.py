"""Streams for evaluation: the scores of a `Monitor`, computed in whole arrays.

Every request is featurised once; a stream is an array of row numbers. The scores are those of a
`Monitor` on the same rows in the same order, up to rounding, as long as no request in the ring
repeats another exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.calibration import window_blocks
from latentwatch.detector.decision import window_scores
from latentwatch.detector.features import BLOCK_ROWS, Float64, Int64
from latentwatch.detector.sketch import TAIL_EDGES, Features

CHUNK_ROWS = 8192
"""Requests scored together, to bound memory."""


def joined(first: Features, second: Features) -> Features:
    """Concatenate the rows of two sets."""
    return Features(
        *(
            np.concatenate([getattr(first, field.name), getattr(second, field.name)])
            for field in fields(Features)
        )
    )


def spaced(rng: np.random.Generator, rows: int, count: int, apart: int) -> Int64:
    """Draw row numbers [count] without end, none twice within `apart` draws.

    Each draw is uniform among the rows that are not among the last `apart` ones, or the last half
    of all rows, whichever is more. If rows are too few, the last seven eighths are excluded.
    """
    apart = min(max(apart, rows // 2), rows - max(1, rows // 8))
    order = rng.permutation(rows).tolist()
    drawn, eligible = order[:apart], order[apart:]
    picks = rng.integers(len(eligible), size=max(0, count - apart)).tolist()
    for place, pick in enumerate(picks):
        drawn.append(eligible[pick])
        eligible[pick] = drawn[place]
    return np.array(drawn[:count], dtype=np.int64)


class StreamScorer:
    """Scores streams of featurised rows as a `Monitor` does.

    Parameters
    ----------
    baseline : Baseline
    features : Features
        The rows of which streams consist.
    """

    def __init__(self, baseline: Baseline, features: Features) -> None:
        self.sizes = window_blocks(baseline.longest_window)
        self.views = baseline.deciding
        self.groups = baseline.groups
        width = max(view.slice.stop for view in self.views)
        # block sums of 32 values of 16 bits fit into 32, which halves the time of int64
        self.psi = features.psi[:, :width].astype(np.int32)
        views = len(self.views)
        bins = np.searchsorted(TAIL_EDGES, features.p_values[:, :views], side="left")
        histogram = np.eye(len(TAIL_EDGES), dtype=np.int64)[bins]
        self.facts = np.hstack(
            [
                np.eye(self.groups, dtype=np.int64)[features.groups],
                features.lengths[:, :views],
                histogram.reshape(len(features), -1),
            ]
        )

    def scores(self, stream: Int64) -> dict[int, Float64]:
        """Scores of all windows of a stream [n] of row numbers.

        Returns
        -------
        dict of blocks k to float64 [n // 32 - k + 1]
            Scores of the windows of k blocks, by their first block.
        """
        found: dict[int, list[Float64]] = {k: [] for k in self.sizes}
        whole = len(stream) // BLOCK_ROWS * BLOCK_ROWS
        kept = np.empty((0, self.facts.shape[1] + self.psi.shape[1]), dtype=np.int64)
        for start in range(0, whole, CHUNK_ROWS):
            sums = np.vstack(
                [kept, self._block_sums(stream[start : min(start + CHUNK_ROWS, whole)])]
            )
            for k, parts in found.items():
                # only windows that end in a block of this chunk
                parts.append(self._scores_of(sums[max(0, len(kept) - k + 1) :], k))
            kept = sums[max(0, len(sums) - self.sizes[-1] + 1) :]
        return {k: np.concatenate([np.empty(0), *parts]) for k, parts in found.items()}

    def _block_sums(self, stream: Int64) -> Int64:
        blocks = stream.reshape(-1, BLOCK_ROWS)
        # block by block, because the rows of one block stay in the cache
        psi = [np.add.reduce(self.psi[block], axis=0, dtype=np.int32) for block in blocks]
        return np.hstack([self.facts[blocks].sum(axis=1), np.stack(psi).astype(np.int64)])

    def _scores_of(self, sums: Int64, k: int) -> Float64:
        """Scores [blocks - k + 1] of all windows of k blocks."""
        if len(sums) < k:
            return np.empty(0)
        total = np.vstack([np.zeros_like(sums[:1]), np.cumsum(sums, axis=0)])
        windows = total[k:] - total[:-k]
        views = len(self.views)
        bounds = np.cumsum([self.groups, views, views * len(TAIL_EDGES)])
        counts, lengths, flat, psi = np.split(windows, bounds, axis=1)
        histograms = flat.reshape(len(windows), views, -1)
        scores = [
            window_scores(counts, psi[:, view.slice], lengths[:, index], histograms[:, index], view)
            for index, view in enumerate(self.views)
        ]
        highest: Float64 = np.max(scores, axis=0)
        return highest


def alarms(scores: Mapping[int, Float64], threshold: float) -> list[int]:
    """Blocks that alarm if the ring is emptied after each alarm."""
    reached = sorted(
        (int(first) + k - 1, int(first))
        for k, values in scores.items()
        for first in np.flatnonzero(values >= threshold)
    )
    found: list[int] = []
    for block, first in reached:
        if first > (found[-1] if found else -1):
            found.append(block)
    return found


@dataclass(frozen=True, slots=True)
class RunLengthEstimate:
    """Realised average run length: requests seen, over alarms raised.

    Parameters
    ----------
    requests, alarms : int
    """

    requests: int
    alarms: int

    def __add__(self, other: RunLengthEstimate) -> RunLengthEstimate:
        return RunLengthEstimate(self.requests + other.requests, self.alarms + other.alarms)

    @property
    def value(self) -> float | None:
        """Requests per alarm; None if there was no alarm, see `interval`."""
        return self.requests / self.alarms if self.alarms else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Exact 95 % interval of an inverted Poisson rate (Garwood 1936); None for an open end.

        Without any alarm only the lower end remains.
        """
        if not self.requests:
            return None, None
        most = float(gammaincinv(self.alarms + 1, 0.975))
        least = float(gammaincinv(self.alarms, 0.025)) if self.alarms else 0.0
        return self.requests / most, self.requests / least if least else None

    def as_dict(self) -> dict[str, object]:
        """The values for JSON."""
        return {"requests": self.requests, "alarms": self.alarms, "interval": list(self.interval)}


def quantile_of_delays(delays: NDArray[np.float64], q: float) -> float | None:
    """Quantile q of delays, infinite for missed attacks; None if the quantile is infinite."""
    if not len(delays):
        return None
    value = float(np.sort(delays)[max(0, int(np.ceil(q * len(delays))) - 1)])
    return value if np.isfinite(value) else None
