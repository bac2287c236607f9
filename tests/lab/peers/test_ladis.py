"""The original procedure: its parts against their definitions, and its limits."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import (
    DimensionError,
    NotFiniteError,
    TooFewRowsError,
    UnseenClassError,
    gaussian_kernel,
)
from latentwatch.lab.peers.ladis import (
    Ladis,
    squared_distances,
    sum_of_kernels,
    wild_bootstrap_p_value,
    wild_process,
)

CLASSES = 4
WIDTH = 6


def draw(
    rows: int, rng: np.random.Generator, classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Requests of four classes whose means lie far apart, or of one of them."""
    means = 3.0 * np.random.default_rng(5).standard_normal((CLASSES, WIDTH))
    predicted = rng.integers(CLASSES, size=rows) if classes is None else np.full(rows, classes)
    return means[predicted] + rng.standard_normal((rows, WIDTH)), predicted


@pytest.fixture(scope="module")
def ladis() -> Ladis:
    """The procedure with fewer trials than the original's, on 800 hold-out rows."""
    return Ladis.fit(*draw(800, np.random.default_rng(1)), trials=20)


def test_the_defaults_are_the_originals() -> None:
    ladis = Ladis.fit(*draw(50, np.random.default_rng(0)))

    assert (ladis.trials, ladis.samples, ladis.bootstraps) == (100, 100, 100)


def test_the_kernel_is_the_sum_of_five_gaussians_around_the_median_heuristic() -> None:
    pooled = np.random.default_rng(2).standard_normal((14, 3)).astype(np.float32)
    squared = squared_distances(pooled)
    exact = ((pooled[:, None] - pooled) ** 2).sum(axis=-1)
    bandwidth = np.sqrt(np.median(exact[:7, 7:]) / 2.0)

    found = sum_of_kernels(squared, 7)

    assert squared == pytest.approx(exact, abs=1e-5)
    expected = 5.0 * gaussian_kernel(pooled, pooled, bandwidth * np.array([0.25, 0.5, 1, 2, 4]))
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_wild_process_is_centred_and_of_variance_one() -> None:
    process = wild_process(400, 300, np.random.default_rng(3))

    assert process.mean(axis=0) == pytest.approx(np.zeros(300), abs=1e-6)
    assert process.var() == pytest.approx(1.0, abs=0.02)
    neighbours = float(np.mean(process[1:] * process[:-1]))
    assert neighbours == pytest.approx(np.exp(-5.0), abs=0.01)


def test_the_p_value_counts_wild_bootstraps_that_reach_the_statistic() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 8, 3)).astype(np.float32)
    bandwidth = np.sqrt(np.median(((x[:, None] - y) ** 2).sum(axis=-1)) / 2.0)
    bandwidths = bandwidth * np.array([0.25, 0.5, 1, 2, 4])

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(gaussian_kernel(a[None], b[None], bandwidths)[0, 0])

    h = np.array(
        [[k(x[i], x[j]) + k(y[i], y[j]) - 2 * k(x[i], y[j]) for j in range(8)] for i in range(8)]
    )
    process = wild_process(8, 50, np.random.default_rng(9))
    null = [float(np.mean(np.outer(w, w) * h)) for w in process.T]

    found = wild_bootstrap_p_value(x, y, 50, np.random.default_rng(9))

    assert 0.05 < found < 0.95
    assert found == pytest.approx((1 + sum(value >= h.mean() for value in null)) / 51)


def test_samples_that_are_all_alike_have_the_p_value_one() -> None:
    same = np.ones((6, 2), dtype=np.float32)

    assert wild_bootstrap_p_value(same, same, 20, np.random.default_rng(0)) == 1.0


def test_a_trial_of_fresh_rows_rejects_about_as_often_as_its_level() -> None:
    rng = np.random.default_rng(6)
    found = np.array(
        [
            wild_bootstrap_p_value(*rng.standard_normal((2, 60, 2)).astype(np.float32), 99, rng)
            for _ in range(600)
        ]
    )

    assert float(np.mean(found <= 0.1)) == pytest.approx(0.1, abs=0.04)
    assert found.min() >= 0.01


def test_hold_out_rows_follow_the_predicted_classes(ladis: Ladis) -> None:
    classes = np.repeat([1, 3], [30, 10])

    drawn = ladis.resample(classes, np.random.default_rng(0))

    counts = np.bincount(ladis.predicted[drawn], minlength=CLASSES)
    assert len(set(drawn.tolist())) == 40
    assert counts[0] == counts[2] == 0
    assert 20 < counts[1] < 38


def test_a_class_with_few_hold_out_rows_makes_the_samples_smaller() -> None:
    rows, predicted = draw(300, np.random.default_rng(0))
    rare = Ladis.fit(rows, np.where(np.arange(300) < 5, 7, predicted), trials=3)

    drawn = rare.resample(np.full(40, 7), np.random.default_rng(0))

    assert sorted(drawn) == [0, 1, 2, 3, 4]
    window = np.random.default_rng(1).standard_normal((40, WIDTH))
    p_values = rare.trial_p_values(window, np.full(40, 7), np.random.default_rng(1))
    assert p_values.shape == (3,)
    assert (p_values > 0).all()


@pytest.mark.parametrize("rows", [8, 32, 100, 250])
def test_windows_of_any_size_are_separated_from_a_shift(ladis: Ladis, rows: int) -> None:
    rng = np.random.default_rng(rows)
    window, predicted = draw(rows, rng)

    assert ladis.p_value(window, predicted, rng) > 0.1
    assert ladis.p_value(window + 4.0, predicted, rng) <= 0.05


def test_a_p_value_is_the_median_of_the_trials(ladis: Ladis) -> None:
    window, predicted = draw(40, np.random.default_rng(0))
    trials = ladis.trial_p_values(window + 0.4, predicted, np.random.default_rng(8))

    found = ladis.p_value(window + 0.4, predicted, np.random.default_rng(8))

    assert len(trials) == 20
    assert trials.min() >= 1 / 101
    assert found == np.median(trials)
    assert len(set(trials.tolist())) > 1


def test_a_change_of_the_class_mix_is_no_shift(ladis: Ladis) -> None:
    rng = np.random.default_rng(7)
    window, predicted = draw(100, rng, classes=2)
    blind = Ladis.fit(ladis.rows * ladis.spread + ladis.mean, np.zeros(800, dtype=int), trials=20)

    assert ladis.p_value(window, predicted, rng) > 0.1
    assert blind.p_value(window, np.zeros(100, dtype=int), rng) < 0.02


def test_a_small_share_of_an_attack_goes_unseen(ladis: Ladis) -> None:
    rng = np.random.default_rng(10)
    window, predicted = draw(200, rng)
    window[:10] += 4.0

    assert ladis.p_value(window, predicted, rng) > 0.05


def test_constant_columns_do_no_harm() -> None:
    rows, predicted = draw(100, np.random.default_rng(0))
    ladis = Ladis.fit(np.hstack([rows, np.ones((100, 1))]), predicted, trials=2)

    window = np.hstack([rows[:20], np.ones((20, 1))])

    assert ladis.p_value(window, predicted[:20], np.random.default_rng(0)) > 0.0


def test_what_cannot_be_tested_is_refused(ladis: Ladis) -> None:
    rows, predicted = draw(10, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    broken = rows.copy()
    broken[3, 2] = np.nan

    refused: list[tuple[Any, Any, type[ValueError], str]] = [
        (rows[:, :3], predicted, DimensionError, "3 columns, the hold-out has 6"),
        (rows, predicted[:4], DimensionError, "do not match"),
        (rows[0], predicted, DimensionError, "do not match"),
        (rows[:1], predicted[:1], TooFewRowsError, "two rows or more"),
        (broken, predicted, NotFiniteError, "not finite"),
        (rows, predicted - 9, UnseenClassError, "of at least 0"),
        (rows, predicted + 0.5, UnseenClassError, "integers"),
        (rows, np.full(10, 99), UnseenClassError, "hold-out has 0 rows"),
    ]
    for bad_rows, bad_predicted, error, message in refused:
        with pytest.raises(error, match=message):
            ladis.p_value(bad_rows, bad_predicted, rng)
