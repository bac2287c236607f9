"""Evaluation of run lengths of benign streams and of delays of attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.evaluation.streams import (
    RunLengthEstimate,
    StreamScorer,
    alarms,
    joined,
    quantile_of_delays,
    spaced,
)
from latentwatch.detector.features import BLOCK_ROWS, Float32, Int64
from latentwatch.detector.monitor import Monitor
from latentwatch.detector.sketch import Features, Requests

TARGETS = (1_000, 10_000)
"""Average run lengths to check."""

STREAMS = 10
"""Benign streams of each kind; each starts with an empty ring."""

IID_REQUESTS = 2_000
"""Requests of independent benign streams, and of those with a shifted class mix, per window of
`windows`. With 1,000 windows, 200 false alarms are expected at a run length of 10,000."""

AUTOCORRELATED_REQUESTS = {1_000: 50, 10_000: 200}
"""The same by target; each request passes through a real monitor, which costs more."""

CLASS_SHARE = 0.5
"""Largest share of one class in a stream with shifted class mix; see `class_share`."""

STAY = 0.8
"""Probability that the next request of a session has the class of the one before."""

RETRY = 0.1
"""Probability that a request is an exact repeat of one of the last `RETRIED`."""

RETRIED = 64

DELAY_TARGET = 10_000
"""Average run length of the threshold for delays."""

DELAY_SHARES = (1.0, 0.3, 0.1, 0.05)
"""Shares of attack requests in the streams for delays."""

WARM_UP = 512
"""Fewest clean requests before an attack, which may start anywhere within a block."""

LONGEST_DELAY = 8_192
"""Requests after which an attack counts as missed."""

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked raw rows float32 [n, columns] and predicted classes int64 [n]."""

    rows: Float32
    predicted: Int64


@dataclass(frozen=True, slots=True)
class RunLengthFigures:
    """Realised run lengths by target and kind of stream: estimates, and the counts behind them."""

    arl: dict[str, dict[str, float | None]]
    detail: dict[str, dict[str, dict[str, Any]]]


def run_length_steps(predicted: Int64) -> int:
    """Ticks of `run_lengths`."""
    return STREAMS * (1 + len(TARGETS)) + len(np.unique(predicted))


def run_lengths(
    baseline: Baseline, clean: Features, raw: Rows, windows: int, seed: int, tick: Tick
) -> RunLengthFigures:
    """Realised average run length of benign streams, to compare with the requested one.

    A run ends with an alarm, which empties the ring. The estimate is all requests over all alarms,
    including the last unfinished run.

    Parameters
    ----------
    clean, raw
        The same benign rows, featurised and raw.
    windows : int
        Scales the number of requests.
    """
    scorer = StreamScorer(baseline, clean)
    rng = np.random.default_rng([seed, 2])
    requests = IID_REQUESTS * windows
    iid = _iid(scorer, baseline, len(clean), requests, rng, tick)
    by_class = _class_shift(scorer, baseline, clean.predicted, requests, rng, tick)
    repeated = _autocorrelated(baseline, raw, windows, np.random.default_rng([seed, 3]), tick)
    arl: dict[str, dict[str, float | None]] = {}
    detail: dict[str, dict[str, dict[str, Any]]] = {}
    for target in TARGETS:
        shifted = sum((found[target] for found in by_class.values()), RunLengthEstimate(0, 0))
        kinds = {
            "iid": iid[target],
            "class_shift": shifted,
            "autocorrelated": repeated[target],
        }
        arl[str(target)] = {kind: found.value for kind, found in kinds.items()}
        detail[str(target)] = {kind: found.as_dict() for kind, found in kinds.items()}
        detail[str(target)]["class_shift"] |= _lowest_class(
            by_class, target, clean.predicted, baseline.longest_window
        )
    return RunLengthFigures(arl, detail)


Estimates = dict[int, RunLengthEstimate]


def _count(scorer: StreamScorer, baseline: Baseline, stream: Int64) -> Estimates:
    scores = scorer.scores(stream)
    return {
        target: RunLengthEstimate(len(stream), len(alarms(scores, baseline.threshold(target))))
        for target in TARGETS
    }


def _pooled(parts: list[Estimates]) -> Estimates:
    return {
        target: sum((part[target] for part in parts), RunLengthEstimate(0, 0)) for target in TARGETS
    }


def _whole_blocks(requests: int) -> int:
    return max(1, requests // BLOCK_ROWS) * BLOCK_ROWS


def _iid(
    scorer: StreamScorer,
    baseline: Baseline,
    rows: int,
    requests: int,
    rng: np.random.Generator,
    tick: Tick,
) -> Estimates:
    parts = []
    for _ in range(STREAMS):
        stream = spaced(rng, rows, _whole_blocks(requests // STREAMS), baseline.longest_window)
        parts.append(_count(scorer, baseline, stream))
        tick()
    return _pooled(parts)


def _class_shift(
    scorer: StreamScorer,
    baseline: Baseline,
    predicted: Int64,
    requests: int,
    rng: np.random.Generator,
    tick: Tick,
) -> dict[int, Estimates]:
    """Estimates by the class that makes up half of the traffic."""
    classes = np.unique(predicted).tolist()
    length = _whole_blocks(requests // len(classes))
    found = {}
    for one in classes:
        stream = class_stream(rng, predicted, one, length, baseline.longest_window)
        if stream is not None:
            found[int(one)] = _count(scorer, baseline, stream)
        tick()
    return found


def class_share(rows: int, window: int) -> float:
    """Share of a class with `rows` rows in a stream with shifted class mix.

    Smaller than `CLASS_SHARE` if the longest window would otherwise hold rows of the class twice.
    """
    return min(CLASS_SHARE, 0.75 * rows / window)


def class_stream(
    rng: np.random.Generator, predicted: Int64, one: int, length: int, window: int
) -> Int64 | None:
    """Stream [length] of row numbers with many rows of one class, none twice within a window.

    None if the other classes have too few rows.
    """
    own, rest = np.flatnonzero(predicted == one), np.flatnonzero(predicted != one)
    share = class_share(len(own), window)
    if 0.75 * len(rest) < (1.0 - share) * window:
        return None
    is_own = rng.random(length) < share
    stream = np.empty(length, dtype=np.int64)
    for rows, places in ((own, is_own), (rest, ~is_own)):
        stream[places] = rows[spaced(rng, len(rows), int(places.sum()), window)]
    return stream


def _lowest_class(
    by_class: Mapping[int, Estimates], target: int, predicted: Int64, window: int
) -> dict[str, Any]:
    """The class that raises most alarms, and the smallest share that any class had."""
    if not by_class:
        return {"lowest_class": None, "least_share": None}
    lowest = max(by_class, key=lambda one: by_class[one][target].alarms)
    estimate = by_class[lowest][target]
    return {
        "lowest_class": {"class": lowest, "arl": estimate.value, **estimate.as_dict()},
        "least_share": min(class_share(int(np.sum(predicted == one)), window) for one in by_class),
    }


def sessions(rng: np.random.Generator, predicted: Int64, length: int) -> Int64:
    """Autocorrelated benign stream [length] of row numbers, with sessions and retries.

    With probability `STAY` a request has the class of the one before; with probability `RETRY` it
    is an exact repeat of one of the last `RETRIED` requests. The rows of each class come in random
    order, and all of them come once before any repeats.
    """
    classes, counts = np.unique(predicted, return_counts=True)
    switched = rng.choice(classes, length, p=counts / counts.sum()).tolist()
    stays, retries = rng.random(length) < STAY, rng.random(length) < RETRY
    back = rng.integers(1, RETRIED + 1, length).tolist()
    queues = {one: _shuffles(rng, np.flatnonzero(predicted == one)) for one in classes.tolist()}
    stream: list[int] = []
    current = switched[0]
    for place in range(length):
        if retries[place] and stream:
            stream.append(stream[-min(back[place], len(stream))])
            current = int(predicted[stream[-1]])
            continue
        if not stays[place]:
            current = switched[place]
        stream.append(next(queues[current]))
    return np.array(stream, dtype=np.int64)


def _shuffles(rng: np.random.Generator, rows: Int64) -> Iterator[int]:
    while True:
        yield from rng.permutation(rows).tolist()


def _autocorrelated(
    baseline: Baseline, raw: Rows, windows: int, rng: np.random.Generator, tick: Tick
) -> Estimates:
    parts = []
    for _ in range(STREAMS):
        part = {}
        for target, requests in AUTOCORRELATED_REQUESTS.items():
            length = _whole_blocks(requests * windows // STREAMS)
            stream = sessions(rng, raw.predicted, length)
            part[target] = RunLengthEstimate(length, monitored(baseline, raw, stream, target))
            tick()
        parts.append(part)
    return _pooled(parts)


def monitored(baseline: Baseline, raw: Rows, stream: Int64, average_run_length: float) -> int:
    """Alarms of real monitors on a stream of row numbers, with a new monitor after each alarm."""
    found, at, step = 0, 0, 32 * BLOCK_ROWS
    monitor = Monitor(baseline, average_run_length=average_run_length)
    while at < len(stream):
        places = np.arange(at, min(at + step, len(stream)))
        requests = Requests.anonymous(len(stream)).take(places)
        rows = stream[places]
        at += len(places)
        for block, decision in monitor.push(raw.rows[rows], raw.predicted[rows], requests):
            if decision.alarm:
                found += 1
                at = int(block.requests.offsets.max()) + 1
                monitor = Monitor(baseline, average_run_length=average_run_length)
                break
    return found


@dataclass(frozen=True, slots=True)
class DelayFigures:
    """Requests from the start of an attack to the alarm, by share; None if it was missed.

    Parameters
    ----------
    median, ninety : dict of share to number of requests or None
        Requests after which half, and nine tenths, of the streams have alarmed.
    streams : dict of share to int
        Streams whose warm-up was free of false alarms.
    """

    median: dict[str, float | None]
    ninety: dict[str, float | None]
    streams: dict[str, int]


def delays(
    baseline: Baseline, clean: Features, attack: Features, runs: int, seed: int, tick: Tick
) -> DelayFigures:
    """Delays of an attack in streams of clean requests, at an average run length of 10,000.

    An attack of share s starts after `WARM_UP` clean requests or up to 31 more; from then on each
    request belongs to it with probability s. No row occurs twice within a window, but rows repeat
    in a stream that is longer than its set.
    """
    scorer = StreamScorer(baseline, joined(clean, attack))
    rng = np.random.default_rng([seed, 4])
    threshold = baseline.threshold(DELAY_TARGET)
    found: dict[str, NDArray[np.float64]] = {}
    for share in DELAY_SHARES:
        drawn = [
            _delay(scorer, len(clean), len(attack), share, threshold, rng) for _ in range(runs)
        ]
        found[str(share)] = np.array([delay for delay in drawn if delay > 0])
        tick()
    return DelayFigures(
        {share: quantile_of_delays(values, 0.5) for share, values in found.items()},
        {share: quantile_of_delays(values, 0.9) for share, values in found.items()},
        {share: len(values) for share, values in found.items()},
    )


def _delay(
    scorer: StreamScorer,
    clean: int,
    attack: int,
    share: float,
    threshold: float,
    rng: np.random.Generator,
) -> float:
    """Delay in requests; infinite if the attack is missed, 0 for an alarm before it."""
    start = WARM_UP + int(rng.integers(BLOCK_ROWS))
    stream = _attacked(rng, clean, attack, share, start)
    # most attacks are detected soon: scoring ever longer prefixes is cheaper than the whole stream
    length = WARM_UP + 1024
    while True:
        found = first_alarm(scorer, stream[:length], threshold)
        if found is not None:
            return float(max(0, found - start))
        if length >= len(stream):
            return float("inf")
        length = min(4 * length, len(stream))


def _attacked(rng: np.random.Generator, clean: int, attack: int, share: float, start: int) -> Int64:
    """Stream of row numbers: clean ones first, `attack` rows of numbers from `clean` on later."""
    bad = rng.random(start + LONGEST_DELAY) < share
    bad[:start] = False
    stream = np.empty(len(bad), dtype=np.int64)
    stream[~bad] = spaced(rng, clean, int(np.sum(~bad)), WARM_UP)
    stream[bad] = clean + spaced(rng, attack, int(np.sum(bad)), WARM_UP)
    return stream


def first_alarm(scorer: StreamScorer, stream: Int64, threshold: float) -> int | None:
    """Requests of a stream until the first alarm."""
    found = alarms(scorer.scores(stream), threshold)
    return (found[0] + 1) * BLOCK_ROWS if found else None
