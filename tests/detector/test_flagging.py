"""Which requests are flagged and how many are adversarial, with the promised error rates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from latentwatch.detector import (
    Baseline,
    Features,
    Requests,
    Sketch,
    SketchError,
    attribution,
    contamination,
    flag,
)
from latentwatch.detector.features import GRID
from latentwatch.detector.sketch import TAIL_EDGES
from latentwatch.detector.suspects import SUSPECT_LEVEL, SUSPECT_LIMIT

RANKS = 2000


def sketch_of(p_values: NDArray[np.float64]) -> Sketch:
    """A sketch of one view that saw these p-values."""
    rows = len(p_values)
    features = Features(
        predicted=np.zeros(rows, dtype=np.int64),
        groups=np.zeros(rows, dtype=np.int64),
        psi=np.zeros((rows, 1), dtype=np.int16),
        lengths=np.zeros((rows, 1), dtype=np.int64),
        squared_distance=np.zeros((rows, 1), dtype=np.float32),
        p_values=np.asarray(p_values, dtype=np.float64)[:, None],
    )
    return Sketch.of(features, Requests.anonymous(rows), 1)


def exact_procedure(p_values: NDArray[np.float64], rate: float, rows: int) -> int:
    """Requests that the step-up procedure flags, on the p-values themselves."""
    n = len(p_values)
    clean = min(n, 2.0 * (np.sum(p_values > 0.5) + 1))
    highest = upper_bound(np.sort(p_values), rows)
    passed = np.flatnonzero(highest * clean <= rate * np.arange(1, n + 1) * (1 + 1e-12))
    return int(passed[-1]) + 1 if len(passed) else 0


def upper_bound(level: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """Share of clean requests below a level that holds for 95 of 100 baselines of `rows` rows."""
    return level + 1.6448536269514722 * np.sqrt(level * (1 - level) / rows)


ROWS = st.sampled_from([500, 2000, 10**6])

P_VALUES = st.lists(
    st.one_of(st.integers(1, RANKS), st.integers(1, 8), st.sampled_from([2, 100, 200, 1000])),
    max_size=60,
).map(lambda ranks: np.array(ranks, dtype=np.float64) / RANKS)


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.9]), ROWS)
def test_the_histogram_never_flags_more_than_the_p_values_themselves_would(
    p_values: NDArray[np.float64], rate: float, rows: int
) -> None:
    flagged = flag(sketch_of(p_values), rate, rows)

    assert flagged.count <= exact_procedure(p_values, rate, rows)
    assert flagged.count == np.sum(p_values <= flagged.level)
    assert flagged.level <= SUSPECT_LEVEL
    named = [int(s.request_id) for s in flagged.requests]
    assert sorted(named) == np.flatnonzero(p_values <= flagged.level).tolist()


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.1, 0.3]), ROWS)
def test_the_histogram_flags_as_many_as_its_levels_allow(
    p_values: NDArray[np.float64], rate: float, rows: int
) -> None:
    clean = min(len(p_values), 2.0 * (np.sum(p_values > 0.5) + 1))
    allowed = [
        int(np.sum(p_values <= edge))
        for edge in TAIL_EDGES
        if edge <= SUSPECT_LEVEL
        and clean * upper_bound(edge, rows) <= rate * np.sum(p_values <= edge)
    ]

    assert flag(sketch_of(p_values), rate, rows).count == max(allowed, default=0)


def test_a_clean_hour_flags_nearly_nobody() -> None:
    rng = np.random.default_rng(0)
    flagged = [flag(sketch_of(rng.random(3000)), 0.05, RANKS).count for _ in range(100)]

    assert np.mean(np.array(flagged) > 0) <= 0.05
    assert np.mean(flagged) < 1.0


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
def test_realised_false_discovery_rate_is_at_most_the_one_set(rate: float, share: float) -> None:
    rng = np.random.default_rng(1)
    proportions, found = [], []
    for _ in range(150):
        bad = round(share * 1000)
        p_values = np.concatenate([rng.beta(0.15, 8.0, bad), rng.random(1000 - bad)])
        flagged = flag(sketch_of(np.clip(np.ceil(p_values * RANKS), 1, RANKS) / RANKS), rate, RANKS)
        false = sum(int(s.request_id) >= bad for s in flagged.requests)
        proportions.append(false / max(flagged.count, 1))
        found.append((flagged.count - false) / bad)

    error = np.std(proportions) / np.sqrt(len(proportions))
    assert np.mean(proportions) <= rate + 2 * error
    if share >= 0.1:  # fewer than 1 / rate suspects of the first level are too few to flag anyone
        assert np.mean(found) > 0.3


def test_realised_false_discovery_rate_holds_from_activations_on(deep_traffic: Any) -> None:
    """With p-values as baselines of a thousand rows give them, averaged over baselines."""
    proportions, found = [], []
    for seed in range(5):
        baseline = deep_traffic.fit(1200, seed, simulated_requests=1_000)
        rng = np.random.default_rng([21, seed])
        benign, attack = deep_traffic.draw(1800, rng), far_away(deep_traffic, 200, rng)
        rows = np.concatenate([benign[0]["deep"], attack[0]["deep"]])
        features = baseline.features(
            *baseline.rows({"deep": rows}, np.concatenate([benign[1], attack[1]]))
        )
        flagged = flag(baseline.sketch(features), 0.1, baseline.fitted_rows)
        false = sum(int(s.request_id) < 1800 for s in flagged.requests)
        proportions.append(false / max(flagged.count, 1))
        found.append((flagged.count - false) / 200)

    assert np.mean(proportions) <= 0.1
    assert np.mean(found) > 0.95


def test_the_rate_holds_for_nineteen_baselines_of_twenty_and_not_only_on_average() -> None:
    """Ranks among few rows are off by chance, and stay so for every hour of a baseline."""
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(60):
        reference, false = np.sort(rng.random(1000)), []
        for _ in range(20):
            scores = np.concatenate([rng.random(1200), 1.0 - rng.beta(0.1, 10.0, 800)])
            ranks = 1 + len(reference) - np.searchsorted(reference, scores)
            flagged = flag(sketch_of(ranks / (len(reference) + 1)), 0.1, len(reference))
            benign = sum(int(s.request_id) < 1200 for s in flagged.requests)
            false.append(benign / max(flagged.count, 1))
        rates.append(np.mean(false))

    assert np.mean(np.array(rates) <= 0.1) >= 0.9
    assert np.mean(rates) > 0.03  # the price is a share of the discoveries, not all of them


def far_away(traffic: Any, rows: int, rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    """Requests that are atypical for any baseline."""
    activations, predicted = traffic.draw(rows, rng)
    noise = rng.standard_normal(activations["deep"].shape)
    return {"deep": (activations["deep"] + 6.0 * noise).astype(np.float32)}, predicted


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_rates_that_mean_nothing_are_refused(rate: float) -> None:
    with pytest.raises(SketchError, match="must be above 0 and below 1"):
        flag(sketch_of(np.array([0.1])), rate, RANKS)


def test_nobody_is_flagged_where_there_is_nobody(baseline: Baseline) -> None:
    for sketch in (baseline.empty_sketch(), Sketch.counting(Requests.anonymous(5))):
        assert flag(sketch, 0.05, 1000).count == 0
        assert flag(sketch, 0.05, 1000).requests == ()
        assert contamination(sketch, 1000).estimate == 0.0
        assert contamination(sketch, 1000).lower_bound == 0.0


def test_beyond_the_limit_of_names_the_count_stays_exact() -> None:
    flagged = flag(sketch_of(np.full(SUSPECT_LIMIT + 500, 1 / RANKS)), 0.05, RANKS)

    assert flagged.count == SUSPECT_LIMIT + 500
    assert len(flagged.requests) == SUSPECT_LIMIT


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_contamination_is_estimated_without_bias_where_attacks_are_far_away(share: float) -> None:
    rng = np.random.default_rng(2)
    estimates, bounds = [], []
    for _ in range(400):
        reference = np.sort(rng.random(1500))
        bad = round(share * 1000)
        ranks = 1500 - np.searchsorted(reference, rng.random(1000 - bad))
        p_values = np.concatenate([np.full(bad, 1 / 1501), (1 + ranks) / 1501])
        found = contamination(sketch_of(p_values), 1500)
        estimates.append(found.estimate)
        bounds.append(found.lower_bound)

    assert np.mean(estimates) == pytest.approx(share, abs=0.006 if share else 0.025)
    assert np.mean(np.array(bounds) <= share) >= 0.93
    assert all(bound <= max(e, 0.0) for bound, e in zip(bounds, estimates, strict=True))


def test_contamination_of_attacked_activations_is_near_the_true_share(
    deep_baseline: Baseline, deep_traffic: Any
) -> None:
    rng = np.random.default_rng(22)
    benign, attack = deep_traffic.draw(3000, rng), far_away(deep_traffic, 1000, rng)

    def sketch(rows: tuple[Any, Any]) -> Sketch:
        return deep_baseline.sketch(deep_baseline.features(*deep_baseline.rows(*rows)))

    found = contamination(sketch(benign) + sketch(attack), deep_baseline.fitted_rows)

    assert found.estimate == pytest.approx(0.25, abs=0.06)
    assert 0.15 < found.lower_bound < 0.25
    clean = contamination(sketch(benign), deep_baseline.fitted_rows)
    assert clean.estimate < 0.08
    assert clean.lower_bound < 0.04


def test_each_view_has_its_own_contamination(baseline: Baseline, traffic: Any) -> None:
    rows = traffic.attacked(400, np.random.default_rng(23))
    sketch = baseline.sketch(baseline.features(*baseline.rows(*rows)))
    names = [view.name for view in baseline.views]

    deep, early = (
        contamination(sketch, baseline.fitted_rows, names.index(name)).estimate
        for name in ("deep", "early")
    )

    assert deep > 0.6
    assert early < 0.2
    moved = replace(sketch, histogram=sketch.histogram[::-1].copy())
    assert contamination(moved, baseline.fitted_rows, len(names) - 1).estimate == deep


@given(
    arrays(
        np.int16,
        st.tuples(st.integers(2, 12), st.integers(1, 6)),
        elements=st.integers(-32767, 32767),
    )
)
def test_attribution_sums_exactly_to_t(psi: NDArray[np.int16]) -> None:
    rows = [[int(v) for v in row] for row in psi]
    n = len(rows)

    def inner(a: list[int], b: list[int]) -> int:
        return sum(x * y for x, y in zip(a, b, strict=True))

    total = [sum(column) for column in zip(*rows, strict=True)]
    of_pairs = [sum(inner(rows[j], rows[i]) for i in range(n) if i != j) for j in range(n)]
    statistic = inner(total, total) - sum(inner(row, row) for row in rows)
    assert sum(of_pairs) == statistic

    shares = attribution(psi)

    # integers of this size are exact in double precision once the division is undone
    assert np.rint(shares * GRID**2 * (n - 1)).astype(object).tolist() == of_pairs
    assert shares.mean() == pytest.approx(
        statistic / (GRID**2 * n * (n - 1)), rel=1e-9, abs=1e-9 * np.abs(shares).max()
    )


def test_the_largest_shares_in_t_belong_to_the_attack(
    deep_baseline: Baseline, deep_traffic: Any
) -> None:
    rng = np.random.default_rng(24)
    benign, predicted = deep_traffic.draw(140, rng)
    moved = benign["deep"].copy()
    moved[:20] += np.float32(4.0)
    features = deep_baseline.features(*deep_baseline.rows({"deep": moved}, predicted))

    top = np.argsort(-attribution(features.psi))[:10]

    assert np.sum(top < 20) >= 8


@pytest.mark.parametrize("rows", [0, 1])
def test_shares_in_t_need_two_requests(rows: int) -> None:
    with pytest.raises(SketchError, match="need two requests or more"):
        attribution(np.zeros((rows, 3), dtype=np.int16))
