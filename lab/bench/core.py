"""Cost of the detector per request, compared with its own matrix products and other detectors.

Everything runs in one process and one thread, so that the figures of a run can be compared. Rows
come as from Kafka, in half precision and in batches.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentwatch.detector import Baseline, Monitor
from latentwatch.detector.features import CHUNK_ROWS, times_triangle
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.lab.peers.run import DEFAULT_PYTHON

__all__ = ["core", "growth", "peers"]

Figures = dict[str, float]
Say = Callable[[str], None]

RUN_LENGTH = 100_000
REQUESTS = 16_384
REPEATS = 5
"""Runs of which the fastest counts, because the others were disturbed."""

SIMULATED_REQUESTS = 100_000
PEERS_SCRIPT = Path(__file__).with_name("online_peers.py")
PEERS_SECONDS = 1_200.0
REFERENCE_ROWS = 5_000
"""Reference rows of the other detectors, as many as our baseline has."""


def core(
    folder: Path,
    say: Say,
    requests: int = REQUESTS,
    widths: Sequence[int] = (512, 2048),
    **options: Any,
) -> Figures:
    """Microseconds per request by width of the layer, also as a multiple of the products alone."""
    found: Figures = {}
    for width in widths:
        say(f"fitting a baseline of width {width}")
        traffic = BenchTraffic(width=width)
        baseline = traffic.baseline(**options)
        products = _products(baseline, requests)
        found[f"products_microseconds_width_{width}"] = products
        for batch in (64, 128, 256):
            say(f"batches of {batch}, width {width}")
            cost = _monitor(baseline, {"layer4": traffic.draw(requests, 3)}, batch)
            found[f"core_microseconds_width_{width}_batch_{batch}"] = cost
            found[f"core_to_products_width_{width}_batch_{batch}"] = cost / products
    return found


def growth(folder: Path, say: Say, requests: int = REQUESTS, rows: int = 16_000) -> Figures:
    """Microseconds per request as windows, the baseline, layers and models grow."""
    traffic = BenchTraffic(width=128)
    fresh = {"layer4": traffic.draw(requests, 3)}
    found: Figures = {}
    for longest in (128, 512, 2048):
        say(f"windows of up to {longest}")
        baseline = traffic.baseline(rows // 2, longest_window=longest, random_features=256)
        found[f"core_microseconds_window_{longest}"] = _monitor(baseline, fresh, 256)
    for size in (rows // 4, rows):
        say(f"a baseline of {size:,} rows")
        baseline = traffic.baseline(size, random_features=256)
        found[f"core_microseconds_baseline_{size}"] = _monitor(baseline, fresh, 256)
    for layers in (1, 2, 4):
        say(f"{layers} layers")
        names = [f"layer{number}" for number in range(layers)]
        drawn = {name: traffic.draw(rows // 4, 10 + i) for i, name in enumerate(names)}
        baseline = _fit(drawn)
        fresh = {name: traffic.draw(requests, 20 + i) for i, name in enumerate(names)}
        found[f"core_microseconds_layers_{layers}"] = _monitor(baseline, fresh, 256)
    for models in (1, 8, 32):
        say(f"{models} models")
        found[f"core_microseconds_models_{models}"] = _models(baseline, fresh, models)
    return found


def peers(folder: Path, say: Say, python: Path = DEFAULT_PYTHON) -> Figures:
    """Microseconds per request of the online detectors of alibi-detect and frouros; width 512.

    Empty if their environment is missing: ``make peers`` prepares it.
    """
    if not python.exists():
        say(f"{python} is missing: make peers")
        return {}
    traffic = BenchTraffic()
    say("fitting a baseline")
    baseline = traffic.baseline()
    found = {"ours_microseconds": _monitor(baseline, {"layer4": traffic.draw(REQUESTS, 3)}, 64)}
    np.savez(
        folder / "rows.npz",
        reference=traffic.draw(REFERENCE_ROWS, 1)[0].astype(np.float32),
        rows=traffic.draw(4_096, 3)[0].astype(np.float32),
    )
    say("alibi-detect and frouros")
    done = subprocess.run(
        [str(python), str(PEERS_SCRIPT), str(folder / "rows.npz")],
        capture_output=True,
        text=True,
        timeout=PEERS_SECONDS,
        check=True,
    )
    for name, cost in json.loads(done.stdout).items():
        found[f"{name}_microseconds"] = cost
        found[f"{name}_to_ours"] = cost / found["ours_microseconds"]
    return found


Rows = Mapping[str, tuple[Any, Any]]
"""Activations and predicted classes of each layer; the classes of the first layer are used."""


def _fit(drawn: Rows) -> Baseline:
    predicted = next(iter(drawn.values()))[1]
    layers = {name: values for name, (values, _) in drawn.items()}
    return Baseline.fit(
        layers, predicted, model="bench", version="1", drop_constant=True,
        random_features=256, simulated_requests=SIMULATED_REQUESTS,
    )  # fmt: skip


def _best(work: Callable[[], None], requests: int) -> float:
    """Microseconds of processor time per request."""
    costs = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        costs.append(time.process_time() - started)
    return min(costs) / requests * 1e6


def _monitor(baseline: Baseline, rows: Rows, batch: int) -> float:
    predicted = next(iter(rows.values()))[1]

    def work() -> None:
        monitor = Monitor(baseline, average_run_length=RUN_LENGTH)
        for start in range(0, len(predicted), batch):
            own = slice(start, start + batch)
            layers = {name: values[own] for name, (values, _) in rows.items()}
            monitor.update(layers, predicted[own])

    return _best(work, len(predicted))


def _models(baseline: Baseline, rows: Rows, models: int) -> float:
    """Send batches of 256 to the models in turn; each has its own monitor."""
    predicted = next(iter(rows.values()))[1]

    def work() -> None:
        monitors = [Monitor(baseline, average_run_length=RUN_LENGTH) for _ in range(models)]
        for number, start in enumerate(range(0, len(predicted), 256)):
            own = slice(start, start + 256)
            layers = {name: values[own] for name, (values, _) in rows.items()}
            monitors[number % models].update(layers, predicted[own])

    return _best(work, len(predicted))


def _products(baseline: Baseline, requests: int) -> float:
    """Time the matrix products of the feature maps alone, on chunks of the same shapes."""
    rng = np.random.default_rng(0)

    def matrix(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    maps = [view.map for view in baseline.views]
    angles = [(matrix(CHUNK_ROWS, len(m.frequencies)), m.frequencies) for m in maps]
    triangles = [(matrix(CHUNK_ROWS, m.rank), m.whitening) for m in maps]
    for layer in baseline.agreement.layers:
        triangles.append((matrix(CHUNK_ROWS, len(layer.whitening)), layer.whitening))

    def work() -> None:
        for _ in range(requests // CHUNK_ROWS):
            for left, right in angles:
                left @ right
            for values, triangle in triangles:
                times_triangle(values, triangle)

    return _best(work, requests // CHUNK_ROWS * CHUNK_ROWS)
