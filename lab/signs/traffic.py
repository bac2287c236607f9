"""The plan of the demo's hours: when they begin, when each request comes, which are adversarial."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.errors import PlanError

HOUR_NS = 3_600_000_000_000
"""One hour in nanoseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SLICES = 20  # of the fading hour; the share falls from slice to slice


class Phase(StrEnum):
    """What happens in an hour."""

    BENIGN = "benign"
    ATTACK = "attack"
    FADING = "fading"


@dataclass(frozen=True)
class TrafficPlan:
    """Requests in the order in which they come.

    Parameters
    ----------
    phases
        What happens in each hour.
    hour
        int64 [N], index of each request's hour, ascending.
    offset_ns
        int64 [N], time of each request in nanoseconds since the first hour began, ascending.
    adversarial
        bool [N].
    """

    phases: tuple[Phase, ...]
    hour: npt.NDArray[np.int64]
    offset_ns: npt.NDArray[np.int64]
    adversarial: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.hour)


def plan_hours(
    hours: int = 4, requests_per_hour: int = 1600, share: float = 0.3, seed: int = 0
) -> TrafficPlan:
    """Plan some hours of traffic: benign ones, one under attack, one with the attack fading out.

    Parameters
    ----------
    hours
        At least 2. The last fades, the one before is under attack, all others are benign.
    requests_per_hour
        At least 1. Their times are uniform in the hour, which is what a Poisson process looks like
        once its count is known.
    share
        Share of adversarial requests in the hour under attack, from 0 to 1. Over the first half of
        the last hour's requests it falls linearly to nothing. The counts are exact, rounded to
        whole requests: ``share`` of the hour under attack and a quarter of that in the last.
    seed
        Seed of times and order, not negative.

    Raises
    ------
    PlanError
        A number is out of range.
    """
    if hours < 2 or requests_per_hour < 1 or not 0 <= share <= 1 or seed < 0:
        raise PlanError(
            f"cannot plan {hours} hours of {requests_per_hour} requests with a share of {share} "
            f"and seed {seed}: use at least 2 hours, 1 request, a share from 0 to 1, a seed from 0"
        )
    generator = np.random.default_rng(derived_seed(seed, "traffic plan"))
    generator = np.random.default_rng(derived_seed(seed, "traffic plan"))
    phases = (Phase.BENIGN,) * (hours - 2) + (Phase.ATTACK, Phase.FADING)
    starts = HOUR_NS * np.arange(hours)[:, None]
    offsets = np.sort(generator.integers(0, HOUR_NS, (hours, requests_per_hour)), axis=1) + starts
    adversarial = [_attacked(phase, requests_per_hour, share, generator) for phase in phases]
    return TrafficPlan(
        phases=phases,
        hour=np.repeat(np.arange(hours), requests_per_hour),
        offset_ns=offsets.ravel(),
        adversarial=np.concatenate(adversarial),
    )


def _attacked(
    phase: Phase, requests: int, share: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Choose the adversarial requests of one hour, bool [requests]."""
    if phase is Phase.ATTACK:
        return _chosen(np.full(requests, share), 1, generator)
    if phase is Phase.FADING:
        progress = (np.arange(requests) + 0.5) / requests
        return _chosen(share * np.maximum(0, 1 - 2 * progress), _SLICES, generator)
    return np.zeros(requests, dtype=np.bool_)


def _chosen(
    rates: npt.NDArray[np.float64], slices: int, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Choose requests at random, as many in each slice as its rates add up to.

    The running total is rounded, not the slices, so that rounding errors do not add up.
    """
    chosen = np.zeros(len(rates), dtype=np.bool_)
    expected, taken = 0.0, 0
    for part in np.array_split(np.arange(len(rates)), slices):
        expected += float(rates[part].sum())
        count = math.floor(expected + 0.5) - taken
        chosen[generator.permutation(part)[:count]] = True
        taken += count
    return chosen


def hour_start_ns(text: str) -> int:
    """Read the start of an hour.

    Parameters
    ----------
    text
        RFC 3339, such as ``2026-01-05T08:00:00Z``, or nanoseconds since 1970 UTC.

    Returns
    -------
    int
        Nanoseconds since 1970 UTC.

    Raises
    ------
    PlanError
        Neither of the two, or not the start of an hour.

    Examples
    --------
    >>> hour_start_ns("1970-01-01T02:00:00Z")
    7200000000000
    """
    nanoseconds = int(text) if text.isdecimal() else _from_rfc3339(text)
    if nanoseconds % HOUR_NS or nanoseconds < 0:
        raise PlanError(
            f"{text} is not the start of an hour: hours are in UTC, as in the detection rates; use "
            "a time whose minutes and seconds are zero"
        )
    return nanoseconds


def _from_rfc3339(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlanError(
            f"cannot read the time {text!r}: use RFC 3339 with a time zone, such as "
            "2026-01-05T08:00:00Z, or nanoseconds since 1970 UTC"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
