"""Whether memory, open files and lag stay level: slopes by least squares, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress, t

from latentwatch.lab.soak.fleet import Sample

__all__ = ["Trend", "lag_trend", "slope", "trends"]

SKIPPED_SHARE = 0.25
"""Share of the time to skip: caches fill, baselines are loaded, and the allocator grows."""

BLOCKS = 12
"""Consecutive samples are correlated; the medians of a dozen stretches of time hardly are."""

LEAST_SECONDS = 120.0
TOLERATED = {"memory, MB": 0.1, "open files": 0.1, "lag, messages": 1.0}
"""Growth over the measured time that counts as level, as a share of the median (at least of 10)."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The trend of one figure.

    Parameters
    ----------
    what : str
    median : float
    per_hour, low, high : float
        Slope, and the ends of its 95 % interval.
    hours : float
        Measured time.
    """

    what: str
    median: float
    per_hour: float
    low: float
    high: float
    hours: float

    @property
    def is_flat(self) -> bool:
        """Whether growth beyond what is tolerated is not significant."""
        kind = next(kind for kind in TOLERATED if self.what.endswith(kind))
        return self.low * self.hours <= TOLERATED[kind] * max(self.median, 10.0)


def trends(samples: Iterable[Sample], spared: int) -> Iterator[Trend]:
    """Trends of memory and open files of the workers that were spared.

    A worker that ended by itself and was restarted has several lives, which the report says: the
    longest one counts.
    """
    for number in range(spared):
        lives: dict[int, list[Sample]] = {}
        for sample in samples:
            if sample.worker == number:
                lives.setdefault(sample.pid, []).append(sample)
        own = max(lives.values(), key=lambda life: life[-1].at - life[0].at, default=[])
        times = [s.at for s in own]
        for name, values in (
            ("memory, MB", [s.memory / 1e6 for s in own]),
            ("open files", [float(s.handles) for s in own]),
        ):
            if (found := slope(f"worker {number}: {name}", times, values)) is not None:
                yield found


def lag_trend(lags: list[tuple[float, int]], spared: int) -> Iterator[Trend]:
    """Lag of the group, where memory is followed as well."""
    times, values = [at for at, _ in lags], [float(lag) for _, lag in lags]
    found = slope("lag, messages", times, values) if spared else None
    if found is not None:
        yield found


def slope(what: str, times: list[float], values: list[float]) -> Trend | None:
    """Slope of a figure over the later part of the time; None if that was too short.

    Examples
    --------
    >>> found = slope("lag, messages", list(range(1000)), [3.0] * 1000)
    >>> found.per_hour, found.is_flat
    (0.0, True)
    """
    if not times or times[-1] - times[0] < LEAST_SECONDS:
        return None
    at, all_values = np.array(times), np.array(values)
    kept = at >= at[0] + SKIPPED_SHARE * (at[-1] - at[0])
    hours = np.array([b.mean() / 3600 for b in np.array_split(at[kept], BLOCKS)])
    medians = np.array([np.median(b) for b in np.array_split(all_values[kept], BLOCKS)])
    fit = linregress(hours, medians)
    # a figure that never moves has no standard error
    reach = float(t.ppf(0.975, BLOCKS - 2) * np.nan_to_num(fit.stderr))
    per_hour, length = float(fit.slope), float(at[kept][-1] - at[kept][0]) / 3600
    median = float(np.median(all_values[kept]))
    return Trend(what, median, per_hour, per_hour - reach, per_hour + reach, length)
