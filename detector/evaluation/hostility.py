"""Evasion: what thin, pulsed, masked and spread attacks achieve against the detector.

Every figure is the share of streams of 10,000 requests in which at least one window alarms, at the
default average run length of the service. Without an attack that is about one in a hundred, which
`quiet` measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.evaluation.requests import Draws
from latentwatch.detector.evaluation.runs import Rows
from latentwatch.detector.evaluation.streams import (
    StreamScorer,
    alarms,
    joined,
    quantile_of_delays,
    spaced,
)
from latentwatch.detector.features import BLOCK_ROWS, Float32, Int64
from latentwatch.detector.monitor import Monitor
from latentwatch.detector.sketch import Features, Requests

__all__ = ["Hostility"]

AVERAGE_RUN_LENGTH = 1_000_000
REQUESTS = 10_000 // BLOCK_ROWS * BLOCK_ROWS
SHARES = (0.3, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
PULSES = (4, 8, 16, 32)
PULSED_SHARE = 0.01
LANES = (1, 4, 16, 64)
SPREAD_SHARE = 0.05
SPREAD_RUN_LENGTH = 100_000
"""Shorter: the run length of 64 lanes is 64 times this and must be in the simulated range."""

FLOODS = (0.0, 0.5, 0.9)
MASKED_SHARE = 0.05
MASKED_REQUESTS = 3_200
HOUR_REQUESTS = 2_000

SAMPLING_RATES = (1.0, 0.5, 0.25, 0.1, 0.05)
SAMPLED_SHARE = 0.1
SAMPLED_BURSTS = (256, 1_024, 4_096)
BURST_SHARE = 0.3
QUIET_REQUESTS = 1_024


@dataclass(frozen=True, eq=False)
class Hostility:
    """Measurements of one attack against one baseline.

    Parameters
    ----------
    baseline : Baseline
    clean, attack : Rows
        Checked raw rows of benign traffic and of an attack.
    streams : int
        Streams behind each figure.
    seed : int
    """

    baseline: Baseline
    clean: Rows
    attack: Rows
    streams: int
    seed: int
    _features: tuple[Features, Features] = field(init=False)
    _scorer: StreamScorer = field(init=False)

    def __post_init__(self) -> None:
        found = tuple(
            self.baseline.features(rows.rows, rows.predicted) for rows in (self.clean, self.attack)
        )
        object.__setattr__(self, "_features", found)
        object.__setattr__(self, "_scorer", StreamScorer(self.baseline, joined(*found)))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 11, *place])

    def _stream(self, rng: np.random.Generator, attacked: NDArray[np.bool_]) -> Int64:
        """Row numbers of a stream, with requests of the attack where requested."""
        window, clean = self.baseline.longest_window, len(self.clean.predicted)
        stream = spaced(rng, clean, len(attacked), window)
        count = int(attacked.sum())
        stream[attacked] = clean + spaced(rng, len(self.attack.predicted), count, window)
        return stream

    def _seen(self, stream: Int64, threshold: float) -> bool:
        return bool(alarms(self._scorer.scores(stream), threshold))

    def _share_seen(
        self, place: tuple[int, ...], attacked: Callable[..., NDArray[np.bool_]]
    ) -> float:
        rng, threshold = self._rng(*place), self.baseline.threshold(AVERAGE_RUN_LENGTH)
        seen = [
            self._seen(self._stream(rng, attacked(rng)), threshold) for _ in range(self.streams)
        ]
        return float(np.mean(seen))

    def dilution(self) -> dict[float, float]:
        """By share of the attack, each request independently; 0 is `quiet` traffic."""
        return {
            share: self._share_seen((1, n), lambda rng, s=share: rng.random(REQUESTS) < s)
            for n, share in enumerate((*SHARES, 0.0))
        }

    def pulses(self) -> dict[int, tuple[float, float]]:
        """By length of a burst of only attack requests, at the same mean share.

        First with bursts that begin with a block of 32, then with bursts whose middle is there.
        """
        found = {}
        for burst in PULSES:
            period = round(burst / PULSED_SHARE / BLOCK_ROWS) * BLOCK_ROWS
            place = np.arange(REQUESTS) % period
            shifted = (np.arange(REQUESTS) + burst // 2) % period
            found[burst] = (
                self._share_seen((2, burst), lambda _, at=place, b=burst: at < b),
                self._share_seen((3, burst), lambda _, at=shifted, b=burst: at < b),
            )
        return found

    def label_mix(self) -> dict[tuple[float, float], float]:
        """By share of one class in the benign traffic, and share of the attack in all traffic."""
        rng, threshold = self._rng(4), self.baseline.threshold(AVERAGE_RUN_LENGTH)
        found = {}
        for dominance in (0.0, 0.5):
            for share in (0.0, 0.03, 0.05):
                seen = [
                    self._seen(self._one_class(rng, dominance, share), threshold)
                    for _ in range(self.streams)
                ]
                found[dominance, share] = float(np.mean(seen))
        return found

    def _one_class(self, rng: np.random.Generator, dominance: float, share: float) -> Int64:
        """A stream in which a given share of the benign rows is of one random class."""
        stream = self._stream(rng, rng.random(REQUESTS) < share)
        predicted = self.clean.predicted
        own = np.flatnonzero(predicted == rng.choice(np.unique(predicted)))
        places = (stream < len(predicted)) & (rng.random(REQUESTS) < dominance)
        stream[places] = own[spaced(rng, len(own), int(places.sum()), self.baseline.longest_window)]
        return stream

    def lanes(self) -> dict[int, tuple[float, float]]:
        """By number of lanes that share an attack: any lane alarms, and their hours together do.

        The hour of 2,000 requests is the sum over any number of lanes; it counts if its p-value is
        at most 0.01.
        """
        requests = min(HOUR_REQUESTS, len(self.clean.predicted))
        hours = Draws(self.baseline, self._features[0], self._rng(5))
        hour = np.mean(
            [
                hours.decide(self._features[1], requests, SPREAD_SHARE).p_value <= 0.01
                for _ in range(self.streams)
            ]
        )
        found = {}
        for count in LANES:
            rng, threshold = self._rng(6, count), self.baseline.threshold(SPREAD_RUN_LENGTH, count)
            seen = []
            for _ in range(self.streams):
                stream = self._stream(rng, rng.random(REQUESTS) < SPREAD_SHARE)
                lanes = np.array_split(stream, count)
                seen.append(any(self._seen(lane, threshold) for lane in lanes))
            found[count] = float(np.mean(seen)), float(hour)
        return found

    def sampling(self) -> dict[float, tuple[float | None, dict[int, float]]]:
        """By sampling rate of the publisher: requests until an alarm, and bursts that are detected.

        First the median number of the service's requests, judged or not, until a window alarms
        during a lasting attack of one request in ten; None if most streams end before. Then, by
        length of a burst in the service's requests, of which three in ten are the attack, the share
        of bursts in which a window alarms.
        """
        threshold = self.baseline.threshold(AVERAGE_RUN_LENGTH)
        found = {}
        for n, rate in enumerate(SAMPLING_RATES):
            rng = self._rng(8, n)
            delays = np.array([self._delay(rng, threshold) / rate for _ in range(self.streams)])
            bursts = {
                burst: float(
                    np.mean([self._burst_seen(rng, burst, rate) for _ in range(self.streams)])
                )
                for burst in SAMPLED_BURSTS
            }
            found[rate] = quantile_of_delays(delays, 0.5), bursts
        return found

    def _delay(self, rng: np.random.Generator, threshold: float) -> float:
        """Judged requests of an attack until the first alarm; infinite without an alarm."""
        stream = self._stream(rng, rng.random(REQUESTS) < SAMPLED_SHARE)
        blocks = alarms(self._scorer.scores(stream), threshold)
        return float((blocks[0] + 1) * BLOCK_ROWS) if blocks else float("inf")

    def _burst_seen(self, rng: np.random.Generator, burst: int, rate: float) -> bool:
        """Whether the sampled part of a burst raises an alarm, with quiet traffic around it."""
        judged = int(rng.binomial(burst, rate))
        attacked = np.zeros(2 * QUIET_REQUESTS + judged, dtype=np.bool_)
        start = QUIET_REQUESTS + int(rng.integers(BLOCK_ROWS))
        attacked[start : start + judged] = rng.random(judged) < BURST_SHARE
        return self._seen(self._stream(rng, attacked), self.baseline.threshold(AVERAGE_RUN_LENGTH))

    def floods(self) -> dict[tuple[str, float], tuple[float, float]]:
        """By kind of flood and its share of all requests; 5 % of the rest is the attack.

        "copies" are exact copies of one benign request, which is judged once. "near copies" differ
        from it by noise of a thousandth, and "fresh" are independent benign requests. The second
        figure is for streams without an attack: whether the flood itself raises an alarm.
        """
        return {
            (kind, flood): (
                self._flooded(n, kind, flood, MASKED_SHARE),
                self._flooded(n, kind, flood, 0.0),
            )
            for n, kind in enumerate(("copies", "near copies", "fresh"))
            for flood in FLOODS
            if flood or kind == "copies"
        }

    def _flooded(self, place: int, kind: str, flood: float, share: float) -> float:
        rng = self._rng(7, place, round(100 * flood), round(100 * share))
        seen = [self._flood_seen(rng, kind, flood, share) for _ in range(self.streams)]
        return float(np.mean(seen))

    def _flood_seen(self, rng: np.random.Generator, kind: str, flood: float, share: float) -> bool:
        """Whether a real monitor alarms; only monitors handle repeats."""
        rows, predicted = self._flooded_rows(rng, kind, flood, share)
        monitor = Monitor(self.baseline, average_run_length=AVERAGE_RUN_LENGTH)
        who = Requests.anonymous(len(rows))
        for at in range(0, len(rows), 1024):
            part = slice(at, at + 1024)
            for _, decision in monitor.push(rows[part], predicted[part], who.take(part)):
                if decision.alarm:
                    return True
        return False

    def _flooded_rows(
        self, rng: np.random.Generator, kind: str, flood: float, share: float
    ) -> tuple[Float32, Int64]:
        length = round(MASKED_REQUESTS / (1.0 - flood))
        raw = np.concatenate([self.clean.rows, self.attack.rows])
        predicted = np.concatenate([self.clean.predicted, self.attack.predicted])
        own = self._stream(rng, rng.random(MASKED_REQUESTS) < share)
        places = np.sort(rng.choice(length, MASKED_REQUESTS, replace=False))
        stream = spaced(rng, len(self.clean.predicted), length, self.baseline.longest_window)
        if kind != "fresh":
            stream[:] = rng.integers(len(self.clean.predicted))
        stream[places] = own
        rows = raw[stream]
        if kind == "near copies":
            flooded = np.setdiff1d(np.arange(length), places)
            noise = 1e-3 * raw.std(axis=0) * rng.standard_normal((len(flooded), raw.shape[1]))
            rows[flooded] += noise.astype(np.float32)
        return rows, predicted[stream]
