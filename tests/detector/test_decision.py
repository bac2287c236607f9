"""Decisions: exact statistics of a sketch, the deciding views, and the pattern."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, Monitor, SketchError, ViewStatistics, attribution, decide
from latentwatch.detector.decision import name_pattern, squared_norm
from latentwatch.detector.features import GRID


def test_a_sketch_of_too_few_requests_or_another_baseline_is_not_judged(
    baseline: Baseline, deep_baseline: Baseline, traffic: Any
) -> None:
    rows = traffic.draw(7, np.random.default_rng(10))
    few = baseline.sketch(baseline.features(*baseline.rows(*rows)))

    with pytest.raises(SketchError, match="with 8 requests or more"):
        decide(few, baseline)
    with pytest.raises(SketchError, match="give one of this baseline"):
        decide(few + few, deep_baseline)
    assert decide(few + few, baseline).p_value > 0.0


def test_statistics_of_a_decision_are_those_of_the_rows(baseline: Baseline, traffic: Any) -> None:
    data = traffic.attacked(60, np.random.default_rng(14))
    features = baseline.features(*baseline.rows(*data))

    decision = baseline.test(*data).decision

    for index, view in enumerate(baseline.views):
        psi = features.psi[:, view.slice].astype(object)
        inner = sum(int(psi[i] @ psi[j]) for i in range(60) for j in range(60) if i != j)
        length = sum(int(row @ row) for row in psi)
        found = decision.views[view.name]
        assert inner / (60 * 59) / GRID**2 == pytest.approx(found.T, rel=1e-12)
        assert length / 60 / GRID**2 == pytest.approx(found.E, rel=1e-12)
        assert features.lengths[:, index].tolist() == [int(row @ row) for row in psi]
        assert attribution(features.psi[:, view.slice]).mean() == pytest.approx(found.T, rel=1e-9)
    assert decision.score == max(decision.views[v.name].score for v in baseline.deciding)


def test_drift_shows_early_and_attacks_show_deep(baseline: Baseline, traffic: Any) -> None:
    rng = np.random.default_rng(15)

    for _ in range(5):
        assert baseline.test(*traffic.drifted(100, rng)).decision.pattern == "drift"
        assert baseline.test(*traffic.attacked(100, rng)).decision.pattern == "adversarial"


@pytest.mark.parametrize(
    ("early", "deep", "pattern"),
    [
        ((5.1, 0.0), (5.0, 1.0), "drift"),
        ((0.0, -5.1), (5.0, 1.0), "drift"),
        ((5.0, 0.0), (5.0, 0.0), "adversarial"),
        ((5.0, 0.0), (1.0, -5.1), "adversarial"),
    ],
)
def test_the_pattern_is_that_of_the_layer_that_is_moved_more(
    baseline: Baseline, early: tuple[float, float], deep: tuple[float, float], pattern: str
) -> None:
    views = {
        name: ViewStatistics(0.0, 0.0, *z, z_rank=0.0, score=0.0)
        for name, z in (("early", early), ("middle", (9.0, 9.0)), ("deep", deep))
    }

    assert name_pattern(baseline, views) == pattern


def test_one_layer_alone_cannot_tell_drift(deep_baseline: Baseline, deep_traffic: Any) -> None:
    test = deep_baseline.test(*deep_traffic.drifted(100, np.random.default_rng(16)))

    assert test.decision.pattern == "adversarial"


@pytest.mark.parametrize("size", [3, 2**20, 2**31, 2**45])
def test_squares_are_exact_whatever_their_size(size: int) -> None:
    values = [size, -size, 1 - size, 7]

    assert squared_norm(np.array(values)) == sum(v * v for v in values)


def test_the_deepest_layer_and_the_agreement_of_all_decide(
    baseline: Baseline, deep_baseline: Baseline
) -> None:
    assert [view.name for view in baseline.deciding] == ["deep", "agreement"]
    assert [view.name for view in deep_baseline.views] == ["deep", "agreement"]
    assert baseline.layer_names == ("early", "middle", "deep")
    assert baseline.width == sum(view.map.rank for view in baseline.views)
    ends = [(view.slice.start, view.slice.stop) for view in baseline.views]
    assert [end for _, end in ends[:-1]] == [start for start, _ in ends[1:]]


def test_a_quick_look_and_the_whole_score_agree(baseline: Baseline, traffic: Any) -> None:
    monitor = Monitor(baseline, average_run_length=100_000)
    rng = np.random.default_rng(15)
    decisions = monitor.update(*traffic.draw(320, rng)) + monitor.update(*traffic.attacked(96, rng))

    for decision in decisions:
        score = decide(decision.sketch, baseline).score
        assert decision.score == score
        for other in (0.0, score / 2, np.nextafter(score, 0.0), score):
            assert decision.reaches(float(other))
        for other in (np.nextafter(score, np.inf), score + 1e-6, 2 * score, np.inf):
            assert not decision.reaches(float(other))
    assert [decision.alarm for decision in decisions] == [False] * 10 + [True] * 3
