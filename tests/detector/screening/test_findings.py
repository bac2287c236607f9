"""Screening finds every reason against a baseline, and nothing else."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentwatch.detector import ConstantFeaturesError, DimensionError, Screening, screen

Rows = tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]

CLASSES = 3
HOUR_NS = 3_600 * 10**9


def draw(rows: int, seed: int, shares: NDArray[np.float64] | None = None) -> Rows:
    """Heavy-tailed, skewed activations of three classes in two layers."""
    rng, world = np.random.default_rng([seed, rows]), np.random.default_rng(3)
    predicted = np.sort(rng.choice(CLASSES, rows, p=shares))
    rng.shuffle(predicted)
    activations = {}
    for name, width in (("early", 6), ("deep", 24)):
        centres = 4.0 * world.standard_normal((CLASSES, width))
        mixing = world.standard_normal((width, width)) / width**0.5
        noise = (rng.gamma(2.0, 1.0, (rows, width)) - 2.0) @ mixing
        noise *= np.sqrt(5.0 / rng.chisquare(5.0, (rows, 1)))
        activations[name] = centres[predicted] + noise
    return activations, predicted


def kinds(screening: Screening) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity) for finding in screening.findings]


def look(rows: Rows, seed: int = 0, **options: Any) -> Screening:
    return screen(*rows, rng=np.random.default_rng(seed), **options)


def test_clean_rows_are_seldom_found_fault_with() -> None:
    found = [kinds(look(draw(2_000, seed), event_time_ns=np.arange(2_000))) for seed in range(4)]
    # a twentieth by poison and a hundredth by drift: two of four would be rare
    assert sum(map(bool, found)) <= 1
    assert not any(severity == "refuse" for one in found for _, severity in one)


def test_rows_whose_activations_are_of_another_class_are_named() -> None:
    activations, predicted = draw(2_000, 1)
    wrong = np.flatnonzero(predicted == 0)[:20]
    predicted[wrong] = 2

    found = look((activations, predicted)).findings

    assert {f.kind for f in found} == {"poisoned"}
    assert found[0].severity == "refuse"
    assert all("class 2" in f.sentence for f in found)
    assert any("activations of another class" in f.sentence for f in found)
    named = set(np.concatenate([f.rows for f in found]).tolist())
    assert named <= set(wrong.tolist())
    assert len(named) > 14


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_rows_that_a_trigger_moved_off_their_class_are_named(share: float) -> None:
    activations, predicted = draw(2_000, 2)
    own = np.flatnonzero(predicted == 1)
    moved = own[: int(share * len(own))]
    trigger = np.random.default_rng(8).standard_normal(24)
    activations["deep"][moved] += 8.0 * trigger / np.linalg.norm(trigger)

    findings = look((activations, predicted)).findings

    assert {(f.kind, f.severity) for f in findings} == {("poisoned", "refuse")}
    assert all("class 1" in f.sentence and "cluster of their own" in f.sentence for f in findings)
    named = set(np.concatenate([f.rows for f in findings]).tolist())
    assert len(named & set(moved.tolist())) > 0.8 * len(moved)
    assert len(named - set(moved.tolist())) < 0.2 * len(moved)


def test_exact_repeats_are_left_out_and_counted() -> None:
    activations, predicted = draw(2_100, 3)
    twice = np.arange(100)
    repeated = {name: np.vstack([array, array[twice]]) for name, array in activations.items()}

    found = look((repeated, np.append(predicted, predicted[twice])))

    assert kinds(found) == [("duplicates", "warn")]
    assert "100 of 2,200 rows (4.5%)" in found.findings[0].sentence
    assert found.findings[0].rows.tolist() == list(range(2_100, 2_200))
    assert found.kept.tolist() == list(range(2_100))


def test_a_source_that_mostly_repeats_itself_is_refused() -> None:
    activations, predicted = draw(400, 3)
    found = look(({n: np.tile(a, (3, 1)) for n, a in activations.items()}, np.tile(predicted, 3)))
    assert kinds(found)[0] == ("duplicates", "refuse")
    assert len(found.kept) == 400
    assert [finding.kind for finding in found.refusals()] == ["duplicates"]
    assert found.refusals(frozenset({"duplicates"})) == []


def test_few_rows_are_warned_of_and_rare_classes_refused_unless_pooled() -> None:
    rows = draw(400, 4, np.array([0.49, 0.49, 0.02]))
    found = look(rows)
    assert kinds(found) == [("rows", "refuse"), ("rows", "warn")]
    assert "2 (" in found.findings[0].sentence
    assert set(rows[1][found.findings[0].rows]) == {2}
    assert kinds(look(rows, pool_rare_classes=True)) == [("rows", "warn")]


def test_drift_within_the_period_is_refused_and_its_time_reported() -> None:
    activations, predicted = draw(2_000, 5)
    times = 480_000 * HOUR_NS + np.arange(2_000) * (HOUR_NS // 200)
    activations["early"][600:800] += 0.7

    (finding,) = look((activations, predicted), event_time_ns=times).findings

    assert (finding.kind, finding.severity, finding.p_value) == ("drift", "refuse", 0.001)
    assert "from 2024-10-04T03:00:00Z to 2024-10-04T03:59:42Z" in finding.sentence
    assert finding.rows.tolist() == list(range(600, 800))


def test_a_class_mix_that_changes_is_no_drift() -> None:
    activations, predicted = draw(2_000, 6)
    by_class = np.argsort(predicted + np.random.default_rng(1).normal(0.0, 1.0, 2_000))
    mixed = {name: array[by_class] for name, array in activations.items()}
    found = look((mixed, predicted[by_class]), event_time_ns=np.arange(2_000))
    assert kinds(found) == []


def test_rows_that_no_baseline_could_be_fitted_on_are_errors_of_their_own() -> None:
    activations, predicted = draw(100, 7)
    with pytest.raises(DimensionError, match="one time for each of 100 rows"):
        look((activations, predicted), event_time_ns=np.arange(99))
    with pytest.raises(ConstantFeaturesError):
        look(({"deep": np.ones((100, 3))}, predicted))


BESIDE = Path(__file__).parents[4] / "shared" / "data"
REAL = Path(os.environ.get("LATENTWATCH_SHARED_DATA", BESIDE)) / "cifar10-activations.npz"


@pytest.mark.skipif(not REAL.exists(), reason="LATENTWATCH_SHARED_DATA can name its folder")
def test_real_activations_pass_and_twenty_relabelled_ones_do_not() -> None:
    with np.load(REAL) as file:
        activations = {name: file[f"baseline.{name}"] for name in ("layer1", "layer4")}
        predicted = file["baseline.predicted"].astype(np.int64)
    assert kinds(look((activations, predicted))) == []
    wrong = np.flatnonzero(predicted == 4)[:20]
    predicted[wrong] = 7
    found = look((activations, predicted)).findings
    assert ("poisoned", "refuse") in {(f.kind, f.severity) for f in found}
    assert all(set(f.rows) <= set(wrong) for f in found)
