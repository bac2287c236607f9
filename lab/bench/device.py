"""Feature maps on a CUDA device compared with numpy on the CPU, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from latentwatch.detector import Baseline, Monitor
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.lab.bench.core import RUN_LENGTH
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.stream.service.accelerated import TorchFeaturiser

__all__ = ["device"]

REQUESTS = 16_384
REPEATS = 5


def device(
    folder: Path,
    say: Callable[[str], None],
    place: str = "cuda",
    requests: int = REQUESTS,
    widths: Sequence[int] = (512, 2048),
    **options: Any,
) -> dict[str, float]:
    """Wall time in microseconds per request, and how far the results of the two places differ.

    Empty if torch does not see the device.
    """
    if torch.device(place).type == "cuda" and not torch.cuda.is_available():
        say("torch sees no CUDA device")
        return {}
    found: dict[str, float] = {}
    for width in widths:
        say(f"fitting a baseline of width {width}")
        traffic = BenchTraffic(width=width)
        baseline = traffic.baseline(**options)
        there = TorchFeaturiser(torch.device(place))
        rows = traffic.draw(requests, 3)
        found |= _apart(baseline, there, rows, width)
        for batch in (128, 1024):
            say(f"width {width}, batches of {batch}")
            places: tuple[tuple[str, Featuriser], ...] = (("processor", NUMPY), ("device", there))
            for name, featuriser in places:
                ending = f"{name}_microseconds_width_{width}_batch_{batch}"
                found[f"features_{ending}"] = _features(baseline, featuriser, rows, batch)
                found[f"monitor_{ending}"] = _monitor(baseline, featuriser, rows, batch)
    return found


Rows = tuple[np.ndarray, np.ndarray]


def _apart(baseline: Baseline, there: Featuriser, drawn: Rows, width: int) -> dict[str, float]:
    rows, predicted = baseline.rows({"layer4": drawn[0]}, drawn[1])
    one, other = (baseline.features(rows, predicted, 0, each) for each in (NUMPY, there))
    steps = np.abs(one.psi.astype(int) - other.psi)
    squared_distances = np.abs(other.squared_distance / one.squared_distance - 1.0)
    return {
        f"largest_grid_steps_apart_width_{width}": float(steps.max()),
        f"residuals_apart_per_million_width_{width}": 1e6 * float((steps > 0).mean()),
        f"distances_apart_per_million_width_{width}": 1e6 * float(squared_distances.max()),
    }


def _features(baseline: Baseline, featuriser: Featuriser, drawn: Rows, batch: int) -> float:
    rows, predicted = baseline.rows({"layer4": drawn[0]}, drawn[1])

    def work() -> None:
        for start in range(0, len(rows), batch):
            own = slice(start, start + batch)
            baseline.features(rows[own], predicted[own], 0, featuriser)

    return _typical(work, len(drawn[1]))


def _monitor(baseline: Baseline, featuriser: Featuriser, drawn: Rows, batch: int) -> float:
    def work() -> None:
        monitor = Monitor(baseline, average_run_length=RUN_LENGTH, featuriser=featuriser)
        for start in range(0, len(drawn[1]), batch):
            own = slice(start, start + batch)
            monitor.update({"layer4": drawn[0][own]}, drawn[1][own])

    return _typical(work, len(drawn[1]))


def _typical(work: Callable[[], None], requests: int) -> float:
    """Microseconds per request; the first run, which loads kernels, does not count."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken) / requests * 1e6
