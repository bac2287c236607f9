"""The plan of a stretch of traffic: when each request comes, and which are bad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latentwatch.chaos.traffic.errors import TrafficError

__all__ = ["Plan", "Stretch", "make_plan"]

SECOND_NS = 10**9


@dataclass(frozen=True)
class Stretch:
    """A stretch of traffic in event time, which may run faster than the clock.

    Parameters
    ----------
    requests
        Number of requests; with `seconds` it gives the rate.
    seconds
        Length in event time.
    share
        Share of bad requests between `begin` and `until`, positions in the stretch from 0 to 1.
    dropped, late
        Share of the messages that are lost, and of those that arrive after all others.
    skew_seconds
        Error of the service's clock.
    favoured, favour
        A class, and its share of the requests; the other classes keep their proportions.
    """

    requests: int
    seconds: float = 3600.0
    share: float = 0.0
    begin: float = 0.0
    until: float = 1.0
    dropped: float = 0.0
    late: float = 0.0
    skew_seconds: float = 0.0
    favoured: int | None = None
    favour: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.share, self.begin, self.until, self.dropped, self.late, self.favour)
        if self.requests < 1 or self.seconds <= 0 or not all(0 <= s <= 1 for s in shares):
            raise TrafficError(
                f"cannot plan {self}: use at least one request, a length above 0, and shares "
                "from 0 to 1"
            )
        if self.begin >= self.until:
            raise TrafficError(
                f"bad requests begin at {self.begin:g}, not before they end at {self.until:g}: "
                "use a smaller begin or a larger until"
            )


@dataclass(frozen=True)
class Plan:
    """Requests in the order in which they come, all arrays [N].

    Parameters
    ----------
    event_time_ns : int64
        By the service's clock.
    bad : bool
        Whether a request is changed.
    """

    event_time_ns: npt.NDArray[np.int64]
    bad: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.bad)


def make_plan(stretch: Stretch, start_ns: int, seed: int) -> Plan:
    """Plan a stretch: times are uniform, and the number of bad requests is exact."""
    rng = np.random.default_rng([seed, 3])
    length = int(stretch.seconds * SECOND_NS)
    offsets = np.sort(rng.integers(0, length, stretch.requests))
    place = np.arange(stretch.requests) / stretch.requests
    among = np.flatnonzero((place >= stretch.begin) & (place < stretch.until))
    bad = np.zeros(stretch.requests, dtype=np.bool_)
    bad[rng.permutation(among)[: round(stretch.share * len(among))]] = True
    return Plan(offsets + start_ns + int(stretch.skew_seconds * SECOND_NS), bad)
