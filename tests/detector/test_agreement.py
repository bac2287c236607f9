"""Distances to class means: left out by formula and by refitting, and what they detect."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline
from latentwatch.detector.agreement import (
    LEAST_DISTANCE,
    REGULARISATION,
    Agreement,
    ClassDistances,
    compare_classes,
)
from latentwatch.detector.features import CHUNK_ROWS, Float32, Float64, Int64, group_means

ROWS, GROUPS, WIDTH = 210, 3, 9


@pytest.fixture(scope="module")
def groups() -> Int64:
    counts = (30, 70, 110)
    return np.random.default_rng(1).permutation(np.repeat(np.arange(GROUPS), counts))


@pytest.fixture(scope="module")
def rows(groups: Int64) -> Float32:
    rng = np.random.default_rng(2)
    means = 1.5 * rng.standard_normal((GROUPS, WIDTH))
    noise = rng.standard_normal((ROWS, WIDTH)) * np.linspace(0.5, 1.5, WIDTH)
    return (means[groups] + noise).astype(np.float32)


def refitted(rows: Float32, groups: Int64, without: int, ridge: float) -> Float64:
    """Distances of one row under means and a covariance that were estimated without it."""
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    keep = np.arange(len(rows)) != without
    means = group_means(standard[keep], groups[keep], GROUPS)
    residuals = standard[keep] - means[groups[keep]]
    degrees = len(rows) - GROUPS
    # the formula leaves the ridge as it was, in units of the whole sample
    covariance = residuals.T @ residuals / degrees + ridge * np.eye(WIDTH)
    covariance *= degrees / (degrees - 1)
    apart = standard[without] - means
    return np.einsum("kd,de,ke->k", apart, np.linalg.inv(covariance), apart)


def test_distances_of_the_fitted_rows_are_those_of_a_fit_without_them(
    rows: Float32, groups: Int64
) -> None:
    fitted, left_out = ClassDistances.fit(rows, groups, np.arange(WIDTH))
    inverse = np.linalg.inv(fitted.whitening.astype(np.float64) @ fitted.whitening.T)
    ridge = np.linalg.eigvalsh(inverse).max() * REGULARISATION / (1 + REGULARISATION)

    refit = np.array([refitted(rows, groups, i, ridge) for i in range(ROWS)])

    assert left_out == pytest.approx(refit, rel=1e-3)
    in_sample = fitted(rows)[np.arange(ROWS), groups]
    assert (in_sample / refit[np.arange(ROWS), groups]).mean() < 0.95


def test_the_comparisons_are_those_of_the_definition() -> None:
    distances = np.array([[1.0, 4.0, 9.0], [6.0, 2.0, 2.5]])

    found = compare_classes(distances, np.array([0, 1]))

    odds = [np.log(np.exp(-2.0) + np.exp(-4.5)) + 0.5, np.log(np.exp(-3.0) + np.exp(-1.25)) + 1.0]
    assert found[0] == pytest.approx([0.0, 3.0, odds[0], 5.5])
    assert found[1] == pytest.approx([np.log(2.0), 0.5, odds[1], 2.25])


def test_distances_of_any_size_compare_without_overflow() -> None:
    distances = np.array([[LEAST_DISTANCE, 1e9, 2e9], [1e9, LEAST_DISTANCE, LEAST_DISTANCE]])

    assert np.isfinite(compare_classes(distances, np.array([0, 0]))).all()


def test_a_model_of_one_class_has_nothing_to_compare_with_but_the_class_itself(
    rows: Float32,
) -> None:
    everything = np.zeros(ROWS, dtype=np.int64)

    agreement, columns = Agreement.fit(rows, everything, [np.arange(4), np.arange(4, WIDTH)])

    assert agreement.width == 2
    assert columns.shape == (ROWS, 2)
    assert agreement.columns(rows, everything).shape == (ROWS, 2)


def test_columns_do_not_depend_on_the_rows_beside_them(rows: Float32, groups: Int64) -> None:
    agreement, _ = Agreement.fit(rows, groups, [np.arange(4), np.arange(4, WIDTH)])
    chunk, own = rows[:CHUNK_ROWS], groups[:CHUNK_ROWS]
    columns = agreement.columns(chunk, own)

    for place in (0, 13, CHUNK_ROWS - 1):
        others, other_groups = rows[-CHUNK_ROWS:].copy(), groups[-CHUNK_ROWS:].copy()
        others[place], other_groups[place] = chunk[place], own[place]
        assert np.array_equal(agreement.columns(others, other_groups)[place], columns[place])


def test_columns_of_the_fitted_rows_vary_as_predictions_do(rows: Float32, groups: Int64) -> None:
    _, columns = Agreement.fit(rows, groups, [np.arange(WIDTH)])

    for group, n in enumerate(np.bincount(groups)):
        own = columns[groups == group]
        assert own.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-5)
        assert own.var(axis=0, ddof=1) == pytest.approx(np.full(4, (n + 1) / (n - 3)), rel=1e-4)


def test_columns_of_fresh_rows_vary_as_those_of_the_fitted_ones_do(traffic: Any) -> None:
    rng = np.random.default_rng(4)
    fitted, fresh = [], []
    for _ in range(150):
        draws = [traffic.draw(120, rng) for _ in range(2)]
        (own, own_groups), (new, new_groups) = ((d["deep"], groups) for d, groups in draws)
        agreement, columns = Agreement.fit(own, own_groups, [np.arange(own.shape[1])])
        fitted.append(np.mean(columns**2, axis=0))
        fresh.append(np.mean(agreement.columns(new, new_groups) ** 2, axis=0))

    # standardised in sample, the fitted rows' would be one
    assert np.mean(fresh, axis=0)[:3].min() > 1.07
    assert np.mean(fresh, axis=0) == pytest.approx(np.mean(fitted, axis=0), rel=0.08)


def test_infinite_layers_stay_finite(rows: Float32, groups: Int64) -> None:
    agreement, _ = Agreement.fit(rows, groups, [np.arange(WIDTH)])
    huge = np.full((2, WIDTH), np.finfo(np.float32).max, dtype=np.float32)

    assert np.isfinite(agreement.columns(huge, groups[:2])).all()


def test_a_wrong_class_with_typical_layers_is_seen_by_the_agreement_alone(
    baseline: Baseline, traffic: Any
) -> None:
    """Early layers of one class, deep ones of another: each layer by itself is ordinary."""
    rng = np.random.default_rng(3)
    benign, predicted = traffic.draw(400, rng)
    order = np.argsort(predicted, kind="stable")
    others = np.roll(order, 150)
    benign["early"][order] = benign["early"][others]
    keep = predicted[order] != predicted[others]
    mixed = {name: values[order][keep][:128] for name, values in benign.items()}

    views = baseline.test(mixed, predicted[order][keep][:128]).decision.views

    assert views["agreement"].score > 8.0
    assert views["deep"].score < 3.0
    assert views["middle"].score < 3.0
