"""Fitting, one-off tests, and the advice of every error."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from latentwatch.detector import (
    Baseline,
    BaselineError,
    ConstantFeaturesError,
    DetectorError,
    DimensionError,
    NotFiniteError,
    TooFewRowsError,
    UnseenClassError,
)
from latentwatch.detector.featuriser import NUMPY, ParallelFeaturiser
from latentwatch.detector.rows import feature_count

SMALL = {
    "model": "m",
    "version": "1",
    "longest_window": 128,
    "random_features": 64,
    "simulated_requests": 1_000,
}

Rows = tuple[dict[str, Any], np.ndarray]


def rows(count: int = 400, classes: int = 2, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    predicted = np.arange(count) % classes
    shift = predicted[:, None]
    return {
        "early": (rng.standard_normal((count, 4)) + shift).astype(np.float32),
        "deep": (rng.standard_normal((count, 6)) + shift).astype(np.float32),
    }, predicted


def with_nan(data: Rows) -> None:
    data[0]["deep"][7, 3] = np.nan


def with_infinity(data: Rows) -> None:
    data[0]["early"][0, 0] = -np.inf


def beyond_single_precision(data: Rows) -> None:
    data[0]["early"] = data[0]["early"].astype(np.float64)
    data[0]["early"][5, 1] = 1e300


def with_a_constant_feature(data: Rows) -> None:
    data[0]["deep"][:, 2] = 3.0


def with_a_constant_layer(data: Rows) -> None:
    data[0]["early"][:] = 0.0


def with_spatial_maps(data: Rows) -> None:
    data[0]["deep"] = data[0]["deep"].reshape(-1, 2, 3)


def without_columns(data: Rows) -> None:
    data[0]["deep"] = data[0]["deep"][:, :0]


def without_layers(data: Rows) -> None:
    data[0].clear()


def with_fewer_rows_in_a_layer(data: Rows) -> None:
    data[0]["deep"] = data[0]["deep"][:-1]


def with_a_negative_class(data: Rows) -> None:
    data[1][5] = -1


def with_a_rare_class(data: Rows) -> None:
    data[1][:19] = 2


def mostly_the_same(data: Rows) -> None:
    for values in data[0].values():
        values[100:] = values[0]


@pytest.mark.parametrize(
    ("spoil", "error", "advice"),
    [
        (with_nan, NotFiniteError, "row 7 of layer 'deep' is not finite; leave such requests out"),
        (with_infinity, NotFiniteError, "row 0 of layer 'early' is not finite"),
        (beyond_single_precision, NotFiniteError, "row 5 of layer 'early' is not finite"),
        (with_a_constant_feature, ConstantFeaturesError, r"'deep': 1 of 6 \(2\); leave them out"),
        (with_a_constant_layer, ConstantFeaturesError, "'early': 4 of 4 .* capture another layer"),
        (mostly_the_same, ConstantFeaturesError, "give activations of different inputs"),
        (with_spatial_maps, DimensionError, "give one row of features per request"),
        (without_columns, DimensionError, "give one row of features per request"),
        (without_layers, DimensionError, "capture at least one"),
        (with_fewer_rows_in_a_layer, DimensionError, r"need \(400, 6\)"),
        (with_a_negative_class, UnseenClassError, "classes count from 0"),
        (with_a_rare_class, TooFewRowsError, r'2 \(19\); collect more .*rare_classes="pool"'),
    ],
)
def test_rows_that_carry_no_baseline_are_refused_with_advice(
    spoil: Callable[[Rows], None], error: type[DetectorError], advice: str
) -> None:
    data = rows()
    spoil(data)

    with pytest.raises(error, match=advice):
        Baseline.fit(*data, **SMALL)


@pytest.mark.parametrize("predicted", [np.zeros(400), np.zeros((400, 1), int), np.zeros(399, int)])
def test_predictions_must_be_one_integer_per_row(predicted: np.ndarray) -> None:
    with pytest.raises(DimensionError, match=r"one integer class per row|need \(399, 4\)"):
        Baseline.fit(rows()[0], predicted, **SMALL)


@pytest.mark.parametrize(
    ("settings", "error", "advice"),
    [
        ({"longest_window": 256}, TooFewRowsError, "collect at least 512, or choose a shorter"),
        ({"longest_window": 100}, TooFewRowsError, "power of two of at least 32, not 100"),
        ({"longest_window": 16}, TooFewRowsError, "power of two of at least 32, not 16"),
        ({"random_features": 63}, TooFewRowsError, "must be even"),
        ({"random_features": 202}, TooFewRowsError, "at most half of the 400 baseline rows"),
        ({"random_features": 0}, TooFewRowsError, "must be even"),
        ({"classes": 1}, UnseenClassError, "classes=1 was given"),
        ({"classes": 3}, TooFewRowsError, r"2 \(0\); collect more"),
    ],
)
def test_settings_that_the_rows_do_not_carry_are_refused_with_advice(
    settings: dict[str, int], error: type[DetectorError], advice: str
) -> None:
    with pytest.raises(error, match=advice):
        Baseline.fit(*rows(), **(SMALL | settings))


def test_features_are_as_many_as_the_rows_carry() -> None:
    assert feature_count(64, 32, None) == 16
    assert feature_count(400, 128, None) == 128
    assert feature_count(3072, 512, None) == 1024
    assert feature_count(100_000, 512, None) == 1024
    assert feature_count(400, 128, 200) == 200


def test_errors_about_baselines_and_rows_have_different_base_classes() -> None:
    assert issubclass(TooFewRowsError, BaselineError)
    assert issubclass(ConstantFeaturesError, BaselineError)
    for error in (NotFiniteError, DimensionError, UnseenClassError):
        assert not issubclass(error, BaselineError)
        assert issubclass(error, DetectorError)
    assert issubclass(DetectorError, ValueError)


def test_constant_features_can_be_left_out() -> None:
    data = rows()
    with_a_constant_feature(data)

    baseline = Baseline.fit(*data, **SMALL, drop_constant=True)

    assert 4 + 2 not in baseline.layout.kept
    assert len(baseline.layout.kept) == 9
    changed = {name: values.copy() for name, values in data[0].items()}
    changed["deep"][:, 2] = 77.0
    assert (baseline.score(changed, data[1]) == baseline.score(*data)).all()


def test_a_layer_that_never_varies_is_refused_even_so() -> None:
    data = rows()
    with_a_constant_layer(data)

    with pytest.raises(ConstantFeaturesError, match=r"'early' never varies .* another layer"):
        Baseline.fit(*data, **SMALL, drop_constant=True)


def test_rare_classes_can_share_one_mean() -> None:
    activations, predicted = rows()
    predicted[:12], predicted[12:24] = 2, 4

    baseline = Baseline.fit(activations, predicted, **SMALL, rare_classes="pool")

    # 3 was never seen: it belongs to the rare ones, like 2 and 4
    assert baseline.group_of_class.tolist() == [0, 1, 2, 2, 2]
    assert (baseline.classes, baseline.groups) == (5, 3)
    assert baseline.views[0].null.counts.tolist() == [188, 188, 24]


def test_a_few_rare_rows_join_the_smallest_ordinary_class() -> None:
    activations, predicted = rows()
    predicted[:7] = 2

    baseline = Baseline.fit(activations, predicted, **SMALL, rare_classes="pool")

    counts = np.bincount(predicted)
    smallest = int(np.argmin(counts[:2]))
    assert baseline.groups == 2
    assert baseline.group_of_class[2] == baseline.group_of_class[smallest]
    assert baseline.group_of_class[1 - smallest] != baseline.group_of_class[smallest]


@pytest.fixture(scope="module")
def small() -> Baseline:
    return Baseline.fit(*rows(), **SMALL)


@pytest.mark.parametrize(
    ("spoil", "error", "advice"),
    [
        (with_nan, NotFiniteError, "row 7 of layer 'deep'"),
        (with_fewer_rows_in_a_layer, DimensionError, r"shape \(399, 6\)"),
        (without_columns, DimensionError, r"need \(400, 6\)"),
        (without_layers, DimensionError, "the baseline needs early, deep"),
        (with_a_negative_class, UnseenClassError, "classes count from 0"),
        (with_a_rare_class, UnseenClassError, "classes 0 to 1; fit a baseline for this version"),
    ],
)
def test_requests_that_do_not_fit_are_refused_with_advice(
    small: Baseline, spoil: Callable[[Rows], None], error: type[DetectorError], advice: str
) -> None:
    data = rows()
    spoil(data)

    for ask in (small.check, small.score, small.test):
        with pytest.raises(error, match=advice):
            ask(*data)


def test_layers_that_the_baseline_does_not_know_are_ignored(small: Baseline) -> None:
    activations, predicted = rows(50, seed=1)

    more = {"other": np.zeros((50, 3)), **activations}

    assert (small.score(more, predicted) == small.score(activations, predicted)).all()


def test_any_float_width_and_lists_of_rows_are_taken(small: Baseline) -> None:
    activations, predicted = rows(40, seed=1)
    half = {name: values.astype(np.float16) for name, values in activations.items()}
    expected = small.score({n: v.astype(np.float32) for n, v in half.items()}, predicted)

    assert (small.score(half, predicted) == expected).all()
    lists = {name: values.astype(float).tolist() for name, values in half.items()}
    assert (small.score(lists, predicted.astype(np.uint8)) == expected).all()


@pytest.mark.parametrize("count", [0, 7])
def test_a_test_of_too_few_requests_is_refused(small: Baseline, count: int) -> None:
    with pytest.raises(TooFewRowsError, match=r"at least 8 requests.*use Baseline.score"):
        small.test(*rows(count))


@pytest.mark.parametrize("count", [8, 50, 700])
def test_benign_requests_pass_and_attacks_do_not(
    baseline: Baseline, traffic: Any, count: int
) -> None:
    rng = np.random.default_rng([11, count])

    benign = baseline.test(*traffic.draw(count, rng))
    attack = baseline.test(*traffic.attacked(count, rng))

    assert benign.p_value > 0.02
    assert 0.0 < attack.p_value < 0.005
    assert benign.decision.alarm is attack.decision.alarm is False
    assert benign.decision.threshold is None
    assert list(benign.decision.views) == [view.name for view in baseline.views]
    assert set(benign.decision.views) == {"early", "middle", "deep", "agreement"}


def test_p_values_of_one_off_tests_are_uniform_on_benign_requests(
    baseline: Baseline, traffic: Any
) -> None:
    rng = np.random.default_rng(12)
    p_values = np.array([baseline.test(*traffic.draw(40, rng)).p_value for _ in range(200)])

    for level in (0.1, 0.3, 0.6):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=0.12)


def test_the_most_suspicious_come_first(baseline: Baseline, traffic: Any) -> None:
    rng = np.random.default_rng(13)
    benign, attack = traffic.draw(70, rng), traffic.attacked(30, rng)
    mixed = {name: np.concatenate([benign[0][name], attack[0][name]]) for name in benign[0]}
    predicted = np.concatenate([benign[1], attack[1]])

    order = baseline.test(mixed, predicted).most_suspicious

    assert sorted(order.tolist()) == list(range(100))
    assert np.sum(order[:30] >= 70) >= 25
    p_values = baseline.score(mixed, predicted)[order]
    assert (np.diff(p_values) >= 0.0).all()


def test_a_few_of_a_thousand_fresh_rows_are_shortened(
    deep_baseline: Baseline, deep_traffic: Any
) -> None:
    rows = deep_traffic.draw(4000, np.random.default_rng(17))
    squared_distance = deep_baseline.features(*deep_baseline.rows(*rows)).squared_distance[:, 0]

    shortened = np.mean(squared_distance > deep_baseline.views[0].map.radius ** 2)

    assert shortened == pytest.approx(0.005, abs=0.004)


def test_fitting_is_repeatable_by_the_seed_and_only_by_it() -> None:
    digests = [Baseline.fit(*rows(), **SMALL, seed=seed).sha256 for seed in (3, 3, 4)]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_fitting_leaves_the_rows_as_they_were() -> None:
    data = rows()
    before = {name: values.copy() for name, values in data[0].items()}

    Baseline.fit(*data, **SMALL)

    assert all((data[0][name] == before[name]).all() for name in before)


def test_progress_of_fitting_is_reported() -> None:
    seen: list[tuple[int, int]] = []

    Baseline.fit(*rows(), **SMALL, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_lanes_lengthen_the_run_length_of_each(baseline: Baseline) -> None:
    assert baseline.threshold(1_000, lanes=7) == baseline.threshold(7_000)
    with pytest.raises(BaselineError, match="average_run_length must be at least 256"):
        baseline.threshold(1_000, lanes=0)
    with pytest.raises(BaselineError, match="average_run_length must be at least 256"):
        baseline.threshold(100)


def test_a_thread_pool_gives_the_same_bits(baseline: Baseline, traffic: Any) -> None:
    rows, predicted = baseline.rows(*traffic.draw(700, np.random.default_rng(8)))
    alone = baseline.features(rows, predicted, 96)
    with ThreadPoolExecutor(3) as pool:
        together = baseline.features(rows, predicted, 96, ParallelFeaturiser(NUMPY, pool.map))
    for field in fields(alone):
        assert np.array_equal(getattr(together, field.name), getattr(alone, field.name))


def test_an_error_in_a_thread_pool_is_not_lost(baseline: Baseline, traffic: Any) -> None:
    rows, predicted = baseline.rows(*traffic.draw(300, np.random.default_rng(8)))
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="broadcast"):
        baseline.features(rows[:, :-1], predicted, 0, ParallelFeaturiser(NUMPY, pool.map))
