"""Messages to measure with: as many and as wide as one likes, in event time."""

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
"""Rows that are drawn; longer traffic takes them again, farther apart than any window."""


@dataclass(frozen=True)
class BenchTraffic:
    """Rectified Gaussian activations on a low-dimensional manifold, a thousand requests a second.

    Parameters
    ----------
    width : int
        Values of the one layer.
    rows : int
        Requests of a message.
    """

    width: int = 512
    rows: int = 64

    def draw(self, count: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Activations float16 [count, width] and classes."""
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
        """So many messages."""
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
        """A baseline of that traffic."""
        activations, predicted = self.draw(rows, 1)
        return Baseline.fit(
            {"layer4": activations},
            predicted,
            model="bench",
            version="1",
            drop_constant=True,
            **{"simulated_requests": 100_000, **options},
        )
