"""Samples with one mode of any shape pass; samples with two modes do not."""

from collections.abc import Callable

import numpy as np
import pytest

from latentwatch.detector.screening.poisoning import projections
from latentwatch.detector.screening.unimodality import UniformNull, minor_mode

Rng = np.random.Generator


@pytest.fixture(scope="module")
def null() -> UniformNull:
    """Of samples of 200."""
    return UniformNull.simulate([200], np.random.default_rng(0))


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng: rng.random(200), id="uniform"),
        pytest.param(lambda rng: rng.standard_t(2, 200), id="heavy tails"),
        pytest.param(lambda rng: rng.exponential(size=200), id="skewed"),
        pytest.param(lambda rng: -rng.lognormal(sigma=1.5, size=200), id="skewed to the left"),
    ],
)
def test_one_mode_is_rejected_no_more_often_than_the_level(
    null: UniformNull, draw: Callable[[Rng], np.ndarray]
) -> None:
    rng = np.random.default_rng(1)
    p_values = np.array([null.p_value(draw(rng)) for _ in range(400)])
    # three standard errors above the level
    assert np.mean(p_values <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(p_values <= 0.002) <= 0.01


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_small_second_mode_is_rejected_and_cut_off(null: UniformNull, side: float) -> None:
    rng = np.random.default_rng(2)
    sample = np.concatenate([rng.standard_normal(180), 8.0 + 0.7 * rng.standard_normal(20)])
    sample *= side
    assert null.p_value(sample) < 1e-3
    named = minor_mode(sample)
    assert set(named.tolist()) <= set(range(180, 200))
    assert len(named) >= 17


def test_directions_are_chosen_without_the_rows_they_are_used_on() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((120, 60))
    # the largest eigenvalue of so few rows is near three; on fresh rows the variance is one
    assert np.linalg.eigvalsh(np.cov(rows.T))[-1] > 2.5
    assert projections(rows, rng).var(axis=0).max() < 1.6
