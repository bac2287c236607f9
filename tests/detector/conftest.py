"""Traffic with classes and layers, cheap enough to fit a baseline on in every test."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from latentwatch.detector import Baseline, Features

Rows = tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]

LAYERS = {"early": 8, "middle": 12, "deep": 16}
CLASSES = 4


@dataclass(frozen=True)
class Traffic:
    """Four Gaussian classes in three layers, with fixed class means."""

    layers: tuple[str, ...] = tuple(LAYERS)

    def draw(
        self, rows: int, rng: np.random.Generator, shares: NDArray[np.float64] | None = None
    ) -> Rows:
        """Benign requests; `shares` is the class mix."""
        world = np.random.default_rng(5)
        predicted = rng.choice(CLASSES, rows, p=shares)
        activations = {}
        for name, width in LAYERS.items():
            means = 2.0 * world.standard_normal((CLASSES, width))
            noise = rng.standard_normal((rows, width)) * np.linspace(0.5, 1.5, width)
            activations[name] = (means[predicted] + noise).astype(np.float32)
        return {name: activations[name] for name in self.layers}, predicted

    def attacked(self, rows: int, rng: np.random.Generator) -> Rows:
        """Adversarial requests: off the manifold in the deep layers, not in the early one."""
        activations, predicted = self.draw(rows, rng)
        for name in set(self.layers) & {"middle", "deep"}:
            activations[name] += 2.5 * rng.standard_normal(activations[name].shape, np.float32)
        return activations, predicted

    def drifted(self, rows: int, rng: np.random.Generator) -> Rows:
        """Ordinary drift: strong in the early layer, faint in the deep ones."""
        activations, predicted = self.draw(rows, rng)
        for name, strength in (("early", 2.0), ("middle", 0.5), ("deep", 0.2)):
            if name in activations:
                activations[name] += np.float32(strength)
        return activations, predicted

    def fit(self, rows: int, seed: int, **settings: object) -> Baseline:
        """A small baseline on fresh rows."""
        small = {"longest_window": 256, "random_features": 128, "simulated_requests": 60_000}
        return Baseline.fit(
            *self.draw(rows, np.random.default_rng([7, seed])),
            model="signs",
            version="1",
            seed=seed,
            **(small | settings),  # type: ignore[arg-type]
        )


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """Traffic of three layers."""
    return Traffic()


@pytest.fixture(scope="session")
def deep_traffic() -> Traffic:
    """Traffic with only the deep layer captured."""
    return Traffic(("deep",))


@pytest.fixture(scope="session")
def baseline(traffic: Traffic) -> Baseline:
    """A baseline of three layers: a view of each, and one of their agreement."""
    return traffic.fit(1200, seed=1)


@pytest.fixture(scope="session")
def deep_baseline(deep_traffic: Traffic) -> Baseline:
    """A baseline of one layer."""
    return deep_traffic.fit(1200, seed=2)


@pytest.fixture(scope="session")
def window_z() -> Callable[[Baseline, Features, int], NDArray[np.float64]]:
    """z-scores [windows, 3] of T, E and R of consecutive windows in the deciding view."""
    return _window_z


def _window_z(baseline: Baseline, features: Features, size: int) -> NDArray[np.float64]:
    from latentwatch.detector.decision import view_statistics

    found = []
    for start in range(0, len(features) - size + 1, size):
        sketch = baseline.sketch(features.take(slice(start, start + size)))
        s = view_statistics(sketch, 0, baseline.views[0])
        found.append((s.z_mean_shift, s.z_distance, s.z_rank))
    return np.array(found)
