"""Feature maps on a CUDA device beside those of the processor, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from latentwatch.detector import Baseline, Monitor
from latentwatch.lab.bench.core import RUN_LENGTH
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.stream.service.accelerated import accelerated

__all__ = ["device"]

REQUESTS = 16_384
REPEATS = 5


def device(
    folder: Path,
    say: Callable[[str], None],
    place: str = "cuda",
    requests: int = REQUESTS,
    widths: Sequence[int] = (512, 2048),
) -> dict[str, float]:
    """Microseconds a request on the wall, and how far the two places differ.

    Nothing where torch does not see the device.
    """
    if torch.device(place).type == "cuda" and not torch.cuda.is_available():
        say("torch sees no CUDA device")
        return {}
    found: dict[str, float] = {}
    for width in widths:
        say(f"fitting a baseline of width {width}")
        traffic = BenchTraffic(width=width)
        baseline = traffic.baseline()
        moved = accelerated(baseline, torch.device(place))
        rows = traffic.draw(requests, 3)
        found |= _apart(baseline, moved, rows, width)
        for batch in (128, 1024):
            say(f"width {width}, batches of {batch}")
            for name, judge in (("processor", baseline), ("device", moved)):
                ending = f"{name}_microseconds_width_{width}_batch_{batch}"
                found[f"features_{ending}"] = _features(judge, rows, batch)
                found[f"monitor_{ending}"] = _monitor(judge, rows, batch)
    return found


Rows = tuple[np.ndarray, np.ndarray]


def _apart(ours: Baseline, theirs: Baseline, drawn: Rows, width: int) -> dict[str, float]:
    rows, predicted = ours.rows({"layer4": drawn[0]}, drawn[1])
    one, other = (judge.features(rows, predicted) for judge in (ours, theirs))
    steps = np.abs(one.psi.astype(int) - other.psi)
    squared_distances = np.abs(other.squared_distance / one.squared_distance - 1.0)
    return {
        f"largest_grid_steps_apart_width_{width}": float(steps.max()),
        f"residuals_apart_per_million_width_{width}": 1e6 * float((steps > 0).mean()),
        f"distances_apart_per_million_width_{width}": 1e6 * float(squared_distances.max()),
    }


def _features(judge: Baseline, drawn: Rows, batch: int) -> float:
    rows, predicted = judge.rows({"layer4": drawn[0]}, drawn[1])

    def work() -> None:
        for start in range(0, len(rows), batch):
            judge.features(rows[start : start + batch], predicted[start : start + batch])

    return _typical(work, len(drawn[1]))


def _monitor(judge: Baseline, drawn: Rows, batch: int) -> float:
    def work() -> None:
        monitor = Monitor(judge, average_run_length=RUN_LENGTH)
        for start in range(0, len(drawn[1]), batch):
            own = slice(start, start + batch)
            monitor.update({"layer4": drawn[0][own]}, drawn[1][own])

    return _typical(work, len(drawn[1]))


def _typical(work: Callable[[], None], requests: int) -> float:
    """Microseconds a request; the first run, which loads kernels, does not count."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken) / requests * 1e6
