"""Windows that several methods share, and how their verdicts become figures."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentwatch.detector import ActivationsError, Baseline
from latentwatch.detector.evaluation.measures import MIXTURES
from latentwatch.detector.evaluation.sets import split_sets
from latentwatch.lab.peers.comparison import Comparison, Windows, chosen_attacks, figures, rates
from latentwatch.lab.peers.ladis import Ladis

Arrays = dict[str, NDArray[Any]]
Sets = dict[str, tuple[dict[str, NDArray[Any]], NDArray[Any]]]

SIZES = [32, 50, 100, 200, 500]
COUNTS = {"clean": 700, "plain": 130}
WIDTH = 8 + 12 + 16


@pytest.fixture(scope="module")
def sets(traffic: Any) -> Sets:
    """The rows that the shared baseline was fitted on, benign traffic and an attack."""
    rng = np.random.default_rng(0)
    return {
        "baseline": traffic.draw(1200, np.random.default_rng([7, 1])),
        "clean": traffic.draw(700, rng),
        "plain": traffic.attacked(130, rng),
    }


@pytest.fixture(scope="module")
def comparison(baseline: Baseline, sets: Sets) -> Comparison:
    """Of a baseline of three layers."""
    return Comparison.of(baseline, sets)


@pytest.fixture(scope="module")
def arrays(sets: Sets, traffic: Any) -> Arrays:
    """The same in the flat form of files, with ordinary drift."""
    drifted = traffic.drifted(130, np.random.default_rng(1))
    flat: Arrays = {}
    for name, (activations, predicted) in {**sets, "drift_plain": drifted}.items():
        flat |= {f"{name}.{layer}": rows for layer, rows in activations.items()}
        flat[f"{name}.predicted"] = predicted
    return flat


def beside(activations: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Layers side by side."""
    return np.hstack(list(activations.values())).astype(np.float64)


@pytest.fixture(scope="module")
def windows(comparison: Comparison) -> list[Windows]:
    """Six windows of every kind."""
    return comparison.windows(6, seed=1)


def one(windows: list[Windows], set_name: str, name: str) -> Windows:
    return next(w for w in windows if (w.set, w.name) == (set_name, name))


def test_every_size_is_drawn_clean_and_every_mixture_of_every_attack(
    windows: list[Windows],
) -> None:
    assert [w.name for w in windows if w.set == "clean"] == list(map(str, SIZES))
    assert [(w.set, w.size, w.share) for w in windows[len(SIZES) :]] == [
        ("plain", size, share) for size, share in MIXTURES
    ]
    assert windows[-1].name == "500@0.05"


def test_windows_hold_clean_rows_first_and_none_twice(windows: list[Windows]) -> None:
    clean = COUNTS["clean"]
    for kind in windows:
        assert kind.rows.shape == (6, kind.size)
        bad = round(kind.size * kind.share)
        for rows in kind.rows:
            assert len(set(rows.tolist())) == kind.size
            assert (rows[: kind.size - bad] < clean).all()
            assert (rows[kind.size - bad :] >= clean).all()
            assert rows.max() < clean + COUNTS["plain"]


def test_the_seed_alone_decides_which_windows_are_drawn(comparison: Comparison) -> None:
    first, again, other = (comparison.windows(2, seed=seed) for seed in (4, 4, 5))

    assert all((a.rows == b.rows).all() for a, b in zip(first, again, strict=True))
    assert not (first[0].rows == other[0].rows).all()


def test_other_methods_get_the_layers_side_by_side_and_standardised(
    comparison: Comparison, sets: Sets
) -> None:
    assert comparison.counts == COUNTS
    assert comparison.attacks == ["plain"]
    assert comparison.reference.shape == (1200, WIDTH)
    assert comparison.reference.mean(axis=0) == pytest.approx(np.zeros(WIDTH), abs=1e-4)
    assert comparison.reference.std(axis=0) == pytest.approx(np.ones(WIDTH), abs=1e-4)
    raw = beside(sets["baseline"][0])
    expected = (beside(sets["plain"][0]) - raw.mean(axis=0)) / raw.std(axis=0)
    assert comparison.rows[COUNTS["clean"] :] == pytest.approx(expected, abs=1e-3)
    assert comparison.predicted.tolist() == [*sets["clean"][1], *sets["plain"][1]]


def test_our_p_values_are_those_of_the_rows_of_the_window(
    comparison: Comparison, windows: list[Windows], sets: Sets
) -> None:
    kind = one(windows, "plain", "50@0.3")
    clean, attack = sets["clean"][0], sets["plain"][0]
    pooled = {layer: np.concatenate([clean[layer], attack[layer]]) for layer in clean}
    calls: list[None] = []

    found = comparison.p_values(kind, lambda: calls.append(None))

    expected = [
        comparison.baseline.test(
            {layer: pooled[layer][rows] for layer in pooled}, comparison.predicted[rows]
        ).p_value
        for rows in kind.rows
    ]
    assert found == pytest.approx(expected)
    assert len(calls) == 6


def test_an_attack_is_seen_by_ours_and_by_the_original_in_windows_full_of_it(
    comparison: Comparison, windows: list[Windows]
) -> None:
    ladis = Ladis.fit(comparison.reference, comparison.reference_predicted, trials=10)
    full, clean = one(windows, "plain", "100@1.0"), one(windows, "clean", "100")
    rng = np.random.default_rng(0)
    calls: list[None] = []

    assert rates(comparison.p_values(full), 0.01) == 1.0
    assert rates(comparison.ladis(full, ladis, rng, lambda: calls.append(None)), 0.01) == 1.0
    assert rates(comparison.ladis(clean, ladis, rng), 0.01) == 0.0
    assert len(calls) == 6


def test_the_reference_is_a_random_choice_of_baseline_rows(comparison: Comparison) -> None:
    few, more = comparison.reference_rows(10, seed=2), comparison.reference_rows(30, seed=2)
    known = {row.tobytes() for row in comparison.reference}

    assert few.shape == (10, WIDTH)
    assert (few == more[:10]).all()
    assert {row.tobytes() for row in more} <= known
    assert not (few == comparison.reference[:10]).all()
    assert len(comparison.reference_rows(10**6)) == 1200


def test_rates_count_p_values_up_to_the_level() -> None:
    assert rates([0.01, 0.02, 0.5, 0.001], 0.01) == 0.5


def test_figures_sort_rates_by_attack_and_mixture() -> None:
    rows = np.zeros((1, 1), dtype=np.int64)
    kinds = [
        Windows("clean", 50, 0.0, rows),
        Windows("a", 50, 1.0, rows),
        Windows("b", 50, 0.3, rows),
    ]

    assert figures(kinds, [0.1, 0.2, 0.3]) == {
        "false_alarm": {"50": 0.1},
        "power": {"a": {"50@1.0": 0.2}, "b": {"50@0.3": 0.3}},
    }


def test_drift_is_no_attack_unless_it_is_chosen(arrays: Arrays) -> None:
    sets = split_sets(arrays, None)

    assert chosen_attacks(sets, None) == ["plain"]
    assert chosen_attacks(sets, ["drift_plain"]) == ["drift_plain"]


def test_sets_that_are_missing_or_too_small_are_refused_before_the_fit(arrays: Arrays) -> None:
    few = {name: rows[:90] if name.startswith("plain") else rows for name, rows in arrays.items()}

    with pytest.raises(ActivationsError, match=r"'plain' has 90 rows.*need 100"):
        Comparison.fit(few)
    with pytest.raises(ActivationsError, match=r"'unheard' is not an attack.*plain, drift_plain"):
        Comparison.fit(arrays, attacks=["unheard"])
    with pytest.raises(ActivationsError, match="layer 'outer' is missing"):
        Comparison.fit(arrays, layers=["outer"])
