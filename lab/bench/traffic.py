"""Messages for benchmarks, of any number and width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch

__all__ = ["BenchTraffic"]

START_NS = 1_767_607_200 * 10**9
CLASSES = 10
DISTINCT_ROWS = 16_384
"""Distinct rows; longer traffic repeats them, farther apart than any window."""


@dataclass(frozen=True)
class BenchTraffic:
    """Rectified Gaussian activations on a low-dimensional manifold, 1,000 requests per second.

    Parameters
    ----------
    width : int
        Width of the only layer.
    rows : int
        Requests per message.
    """

    width: int = 512
    rows: int = 64

    def draw(self, count: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Draw activations float16 [count, width] and classes."""
        world, rng = np.random.default_rng(1), np.random.default_rng([2, seed])
        directions = world.standard_normal((self.width // 8, self.width)) / 8.0
        centres = world.standard_normal((CLASSES, self.width))
        predicted = rng.integers(0, CLASSES, count).astype(np.int32)
        latent = rng.standard_normal((count, self.width // 8)) @ directions + centres[predicted]
        noise = 0.3 * rng.standard_normal((count, self.width))
        return np.maximum(latent + noise, 0.0).astype(np.float16), predicted

    @cached_property
    def _pool(self) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        return self.draw(DISTINCT_ROWS, 0)

    def batches(self, count: int, model: str = "bench") -> Iterator[ActivationBatch]:
        """Yield `count` messages."""
        activations, predicted = self._pool
        for number in range(count):
            first = number * self.rows
            own = np.arange(first, first + self.rows)
            yield ActivationBatch(
                model=model,
                version="1",
                activations={"layer4": activations[own % DISTINCT_ROWS]},
                predicted=predicted[own % DISTINCT_ROWS],
                event_time_ns=START_NS + own * 1_000_000,
                request_ids=[f"request-{n}" for n in own.tolist()],
                source="/services/bench",
                event_id=f"bench-{number}",
                time="2026-01-05T10:00:00Z",
            )

    def baseline(self, rows: int = 5_000, **options: Any) -> Baseline:
        """Fit a baseline on this traffic."""
        activations, predicted = self.draw(rows, 1)
        return Baseline.fit(
            {"layer4": activations},
            predicted,
            model="bench",
            version="1",
            drop_constant=True,
            **{"simulated_requests": 100_000, **options},
        )
