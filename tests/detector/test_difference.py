"""Comparison of two baselines: what differs, and what that means."""

import numpy as np
import orjson
import pytest

from latentwatch.detector import Baseline, compare_baselines

WIDTHS = {"early": 3, "deep": 4}


def fit(
    seed: int, rows: int = 400, shift: float = 0.0, spread: float = 1.0, **changes: object
) -> Baseline:
    """Two classes of unequal shares; the second column of the deep layer may move."""
    rng = np.random.default_rng([5, seed])
    predicted = (np.arange(rows) % 4 == 0).astype(int)
    activations = {
        name: spread * (rng.standard_normal((rows, width)) + 3.0 * predicted[:, None])
        for name, width in WIDTHS.items()
    }
    activations["deep"][:, 1] += shift * activations["deep"][:, 1].std()
    settings = {
        "activations": activations,
        "predicted": predicted,
        "model": "signs",
        "version": "7",
        "seed": seed,
        "longest_window": 32,
        "random_features": 32,
        "simulated_requests": 2_000,
    }
    return Baseline.fit(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def first() -> Baseline:
    """The baseline that others are compared with."""
    return fit(1)


def test_a_baseline_is_the_same_as_itself(first: Baseline) -> None:
    found = compare_baselines(first, first)
    assert found.verdict == "the same"
    assert all(one == two for one, two in found.facts.values())
    assert {(layer.shift, layer.centre_shift, layer.spread_ratio) for layer in found.layers} == {
        (0.0, 0.0, 1.0)
    }


def test_fresh_rows_of_the_same_kind_are_similar_data(first: Baseline) -> None:
    found = compare_baselines(first, fit(2, rows=800))
    assert found.verdict == "similar data"
    assert found.facts["rows"] == (400, 800)
    assert found.facts["seed"] == (1, 2)
    assert found.shares == {0: (0.75, 0.75), 1: (0.25, 0.25)}
    for layer in found.layers:
        assert layer.chance == pytest.approx((1 / 400 + 1 / 800) ** 0.5)
        assert 0.0 < layer.shift < 2.0 * layer.chance


def test_means_that_moved_are_given_in_standard_deviations_with_their_column(
    first: Baseline,
) -> None:
    early, deep = (found := compare_baselines(first, fit(1, shift=0.5))).layers
    assert found.verdict == "other data"
    assert "deep moved by 0.250" in found.meaning
    assert (early.shift, deep.column) == (0.0, 1)
    assert deep.largest_shift == pytest.approx(0.5, abs=1e-3)
    # one column of four
    assert deep.shift == pytest.approx(0.25, abs=1e-3)
    assert deep.centre_shift == pytest.approx(0.25, abs=1e-2)


def test_scales_are_compared_as_ratios(first: Baseline) -> None:
    for layer in compare_baselines(first, fit(1, spread=2.0)).layers:
        assert layer.spread_ratio == pytest.approx(2.0, rel=1e-3)


def test_a_constant_column_of_one_baseline_alone_is_passed_over(first: Baseline) -> None:
    rng = np.random.default_rng(0)
    deep = rng.standard_normal((400, 4))
    deep[:, 0] = 1.0
    deep[:, 2] += 9.0
    rows = {"early": rng.standard_normal((400, 3)), "deep": deep}
    found = compare_baselines(first, fit(3, activations=rows, drop_constant=True))
    assert found.facts["columns that vary"] == (7, 6)
    assert found.layers[1].column == 2


def test_another_version_whose_means_moved_is_another_model(first: Baseline) -> None:
    found = compare_baselines(first, fit(1, shift=1.0, version="8"))
    assert found.verdict == "other model"
    assert found.facts["version"] == ("7", "8")


def test_other_layers_cannot_be_compared(first: Baseline) -> None:
    rng = np.random.default_rng(0)
    rows = {"early": rng.standard_normal((400, 3)), "deep": rng.standard_normal((400, 5))}
    found = compare_baselines(first, fit(3, activations=rows))
    assert found.verdict == "not comparable"
    assert [layer.name for layer in found.layers] == ["early"]


def test_thresholds_beyond_what_a_baseline_promises_are_absent(first: Baseline) -> None:
    found = compare_baselines(first, first)
    promised = {n for n, (one, _) in found.thresholds.items() if one is not None}
    assert promised == {n for n in found.thresholds if n <= first.calibration.run_lengths.longest}
    assert set() < promised < set(found.thresholds)
    assert found.thresholds[10_000][0] == first.threshold(10_000)


def test_a_difference_can_be_written_as_json(first: Baseline) -> None:
    found = compare_baselines(first, fit(1, shift=0.5)).as_dict()
    assert orjson.loads(orjson.dumps(found)) == found
    assert found["layers"][1]["column"] == 1
