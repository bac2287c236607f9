"""What the parts of an hour cost where they are added up, for any number of lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from latentwatch.detector import Baseline, Requests, Sketch
from latentwatch.lab.bench.traffic import START_NS, BenchTraffic
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.rates import RateAggregator
from latentwatch.stream.core.times import HOUR_NS

__all__ = ["merging"]

Figures = dict[str, float]
Say = Callable[[str], None]

BLOCK_ROWS = 128
FAN_IN = 16
"""Sketches that each node of the tree adds up."""

KEPT_HOURS = 24
FALSE_DISCOVERY_RATE = 0.05


def merging(
    folder: Path, say: Say, lanes: Sequence[int] = (16, 256, 4096), **options: Any
) -> Figures:
    """Milliseconds and bytes of a part, by the number of lanes that tell of the same hour.

    Parts go through the book of rates in any order and half of them twice, as after a fault; then
    through a tree of sums.

    Raises
    ------
    ArithmeticError
        The tree gives another sum than the parts one by one, or the book another count: additions
        would not be exact.
    """
    say("fitting a baseline")
    traffic = BenchTraffic()
    baseline = traffic.baseline(**options)
    blocks = _blocks(baseline, traffic)
    found: Figures = {}
    for count in lanes:
        say(f"{count:,} lanes")
        parts = [_part(baseline, blocks, lane) for lane in range(count)]
        stored = [part.to_bytes() for part in parts]
        found[f"part_bytes_{count}_lanes"] = sum(map(len, stored)) / count
        seconds, requests = _in_a_book(baseline, stored)
        found[f"milliseconds_a_part_{count}_lanes"] = 1e3 * seconds / (1.5 * count)
        sketches = [part.tally.sketch for part in parts]
        started = time.perf_counter()
        root, levels = _tree(sketches)
        found[f"milliseconds_a_part_in_a_tree_{count}_lanes"] = (
            1e3 * (time.perf_counter() - started) / count
        )
        found[f"levels_{count}_lanes"] = float(levels)
        if root != reduce(add, sketches) or requests != root.rows:
            raise ArithmeticError(f"sums of {count} parts differ with their order")
    return found


def _blocks(baseline: Baseline, traffic: BenchTraffic) -> list[Sketch]:
    """Sketches of different requests."""
    activations, predicted = traffic.draw(64 * BLOCK_ROWS, 3)
    rows, classes = baseline.rows({"layer4": activations}, predicted)
    features, requests = baseline.features(rows, classes), Requests.anonymous(len(rows))
    starts = range(0, len(rows), BLOCK_ROWS)
    own = [slice(start, start + BLOCK_ROWS) for start in starts]
    return [baseline.sketch(features.take(rows), requests.take(rows)) for rows in own]


def _part(baseline: Baseline, blocks: list[Sketch], lane: int) -> HourPart:
    """What a lane saw of the hour: a block of its own, at offsets of its own."""
    sketch = blocks[lane % len(blocks)]
    block = Sketch(
        sketch.rows,
        sketch.group_counts,
        sketch.sums,
        sketch.lengths,
        sketch.histogram,
        (START_NS + lane, START_NS + lane + 1),
        {lane: (0, BLOCK_ROWS)},
        sketch.ranked,
    )
    return HourPart("bench", "1", lane, 0, START_NS // HOUR_NS, baseline.sha256, Tally(block))


def _in_a_book(baseline: Baseline, stored: list[bytes]) -> tuple[float, int]:
    """Seconds until all is added and judged, and the requests of the last report."""
    rng = np.random.default_rng(0)
    again = rng.permutation(len(stored))[: len(stored) // 2]
    order = np.concatenate([rng.permutation(len(stored)), again])
    book = RateAggregator(lambda *_: baseline, FALSE_DISCOVERY_RATE, KEPT_HOURS)
    requests = 0
    started = time.perf_counter()
    for number in order.tolist():
        report = book.add(HourPart.from_bytes(stored[number]))
        requests = report.rates[0].requests if report else requests
    return time.perf_counter() - started, requests


def _tree(sketches: Sequence[Sketch]) -> tuple[Sketch, int]:
    """The sum of all, level by level, and how many levels that takes."""
    level, levels = list(sketches), 0
    while len(level) > 1:
        level, levels = list(_sums(level)), levels + 1
    return level[0], levels


def _sums(level: Sequence[Sketch]) -> Iterator[Sketch]:
    for start in range(0, len(level), FAN_IN):
        yield reduce(add, level[start : start + FAN_IN])
