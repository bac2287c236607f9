"""The oracle: exact MMD against its definition, and the detector's T against the oracle."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from latentwatch.detector import (
    Baseline,
    DimensionError,
    gaussian_kernel,
    mmd_squared,
    permutation_test,
)
from latentwatch.detector.decision import view_statistics
from latentwatch.detector.features import GRID


def naive_mmd_squared(x: np.ndarray, y: np.ndarray, bandwidths: list[float]) -> float:
    """The unbiased estimate, written as the sums of its definition."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        squared = float(np.sum((a - b) ** 2))
        return float(np.mean([np.exp(-squared / (2 * b * b)) for b in bandwidths]))

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(k(a, b) for a in x for b in y)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)


def closed_form_mmd_squared(shift: np.ndarray, bandwidth: float) -> float:
    """MMD^2 of two standard Gaussians `shift` apart: the kernel integrates in closed form."""
    variance = bandwidth**2
    scale = (variance / (variance + 2)) ** (len(shift) / 2)
    return float(2 * scale * (1 - np.exp(-np.sum(shift**2) / (2 * (variance + 2)))))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (7, 12), (12, 5)])
def test_mmd_is_the_double_sum_of_its_definition(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    x, y, bandwidths = rng.standard_normal((n, 3)), rng.standard_normal((m, 3)) + 1, [0.5, 2.0]
    pooled = np.vstack([x, y])

    found = mmd_squared(gaussian_kernel(pooled, pooled, bandwidths), n)

    assert found == pytest.approx(naive_mmd_squared(x, y, bandwidths), abs=1e-12)


def test_a_kernel_is_one_on_the_diagonal_and_the_mean_over_its_bandwidths() -> None:
    x = np.random.default_rng(0).standard_normal((6, 4))
    kernel = gaussian_kernel(x, x, [1.0, 3.0])

    assert np.diag(kernel) == pytest.approx(1.0)
    both = [gaussian_kernel(x, x, b) for b in (1.0, 3.0)]
    assert kernel == pytest.approx((both[0] + both[1]) / 2)
    assert kernel[0, 1] == pytest.approx(
        np.mean([np.exp(-np.sum((x[0] - x[1]) ** 2) / (2 * b * b)) for b in (1.0, 3.0)])
    )


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mmd_is_unbiased(shift: float) -> None:
    rng = np.random.default_rng(1)
    offset = np.array([shift, 0.0, 0.0])
    found = []
    for _ in range(2000):
        pooled = rng.standard_normal((20, 3))
        pooled[8:] += offset
        found.append(mmd_squared(gaussian_kernel(pooled, pooled, 1.5), 8))

    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(closed_form_mmd_squared(offset, 1.5), abs=3 * error)
    assert error < 0.002


@pytest.mark.parametrize("first", [0, 1, 9, 10])
def test_samples_of_fewer_than_two_rows_are_refused(first: int) -> None:
    with pytest.raises(DimensionError, match="need two rows or more"):
        mmd_squared(np.eye(10), first)


def permutation_p_values(shift: float, repetitions: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.array(
        [
            permutation_test(
                rng.standard_normal((12, 2)),
                rng.standard_normal((14, 2)) + shift,
                bandwidths=[1.0, 2.0],
                permutations=39,
                rng=rng,
            )[1]
            for _ in range(repetitions)
        ]
    )


def test_permutation_p_values_are_uniform_under_the_null() -> None:
    p_values = permutation_p_values(0.0, repetitions=400)

    assert set(np.round(p_values * 40)) <= set(range(1, 41))
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        reached = int((p_values <= level + 1e-9).sum())
        low, high = binom(400, level).ppf([0.001, 0.999])
        assert low <= reached <= high


def test_permutation_p_values_are_small_under_a_shift_and_never_zero() -> None:
    p_values = permutation_p_values(2.0, repetitions=30)

    assert np.median(p_values) == pytest.approx(1 / 40)
    assert p_values.min() > 0.0


def test_samples_that_are_all_alike_have_the_p_value_one() -> None:
    rng = np.random.default_rng(6)

    assert permutation_test(
        np.ones((4, 2)), np.ones((5, 2)), bandwidths=1.0, permutations=9, rng=rng
    ) == (0.0, 1.0)


def test_a_permutation_test_returns_the_exact_mmd() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))

    observed, _ = permutation_test(x, y, bandwidths=[1.0], permutations=3, rng=rng)

    assert observed == pytest.approx(naive_mmd_squared(x, y, [1.0]), abs=1e-12)


def test_t_is_the_exact_mmd_of_the_whitened_kernel(baseline: Baseline, traffic: Any) -> None:
    """Against a second sample whose kernel entries vanish, the MMD is its first term: T."""
    rng = np.random.default_rng(4)
    for rows in (2, 9, 64):
        features = baseline.features(*baseline.rows(*traffic.attacked(rows, rng)))
        sketch = baseline.sketch(features)
        for index, view in enumerate(baseline.views):
            psi = features.psi[:, view.slice].astype(np.float64) / GRID
            kernel = np.zeros((rows + 2, rows + 2))
            kernel[:rows, :rows] = psi @ psi.T

            found = view_statistics(sketch, index, view).T

            assert found == pytest.approx(mmd_squared(kernel, rows), rel=1e-9)


def test_t_estimates_the_mmd_between_window_and_baseline(deep_traffic: Any) -> None:
    """Baseline residuals have mean zero in each class, so that only the window's term remains."""
    rng = np.random.default_rng(5)
    activations, predicted = deep_traffic.draw(1200, rng)
    own = Baseline.fit(
        activations,
        predicted,
        model="m",
        version="1",
        longest_window=128,
        random_features=64,
        simulated_requests=1_000,
    )
    deepest = own.views[0].slice
    reference = own.features(*own.rows(activations, predicted)).psi[:, deepest] / GRID
    window = own.features(*own.rows(*deep_traffic.attacked(100, rng)))
    pooled = np.vstack([window.psi[:, deepest] / GRID, reference])

    exact = mmd_squared(pooled @ pooled.T, 100)

    T = view_statistics(own.sketch(window), 0, own.views[0]).T
    assert exact == pytest.approx(T, rel=0.02)
    assert exact > 20 * own.views[0].null.bias(np.full(4, 0.25))
