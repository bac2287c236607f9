"""Evaluation of single requests and hours."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from latentwatch.detector import Baseline
from latentwatch.detector.evaluation.requests import (
    LEVELS,
    Draws,
    clean_flagged,
    contaminations,
    discoveries,
    hour_requests,
    kolmogorov_smirnov,
    patterns,
    request_calibration,
    suspects,
    window_calibration,
    without_residuals,
)
from latentwatch.detector.sketch import Features


@pytest.fixture(scope="module")
def draws(baseline: Baseline, traffic: Any) -> Draws:
    clean = baseline.features(*baseline.rows(*traffic.draw(2500, np.random.default_rng(0))))
    return Draws(baseline, clean, np.random.default_rng(1))


@pytest.fixture(scope="module")
def attack(baseline: Baseline, traffic: Any) -> Features:
    return baseline.features(*baseline.rows(*traffic.attacked(700, np.random.default_rng(2))))


def test_windows_hold_so_many_of_each_the_clean_ones_first(draws: Draws, attack: Features) -> None:
    rows = draws.features(attack, 30, 10)

    clean, other = ({r.tobytes() for r in part.psi} for part in (draws.clean, attack))
    assert len(rows) == 40
    assert all(r.tobytes() in clean for r in rows.psi[:30])
    assert all(r.tobytes() in other for r in rows.psi[30:])
    assert len({r.tobytes() for r in rows.psi}) == 40
    assert draws.sketch(attack, 0, 10).rows == draws.sketch(attack, 10, 0).rows == 10


def test_hours_are_so_short_that_no_row_need_come_twice(attack: Features) -> None:
    assert hour_requests(100_000, {"attack": attack}) == 2_000
    assert hour_requests(1_500, {"attack": attack}) == 1_500
    assert hour_requests(100_000, {"few": attack.take(slice(0, 90))}) == 300


def test_flags_of_an_attack_are_mostly_right_and_clean_hours_have_hardly_any(
    draws: Draws, attack: Features
) -> None:
    short = replace(draws, clean=without_residuals(draws.clean))
    found = discoveries(short, without_residuals(attack), 0.3, 1_000, 20)

    assert found["found"] > 0.8
    assert found["false_discovery_rate"] <= 0.05
    assert clean_flagged(short, 1_000, 20) < 1.0


def test_the_contaminated_share_is_estimated_and_bounded(draws: Draws, attack: Features) -> None:
    for share in (0.1, 0.3):
        found = contaminations(draws, attack, share, 1_000, 30)
        assert found["estimate"] == pytest.approx(share, abs=0.05)
        assert found["coverage"] >= 0.9


def test_the_distance_from_uniform_is_the_classical_one_for_fine_p_values() -> None:
    values = np.sort(np.random.default_rng(3).random(500))
    ranked = 10**9
    distance, p_value = kolmogorov_smirnov(np.round(values * ranked) / ranked, ranked, ranked)

    classical = kstest(values, "uniform")
    assert distance == pytest.approx(classical.statistic, abs=1e-6)
    assert p_value == pytest.approx(classical.pvalue, rel=0.02)


def test_uniform_multiples_have_no_distance_and_skewed_ones_have() -> None:
    grid = np.arange(1, 101) / 100.0

    assert kolmogorov_smirnov(grid, 99, 99) == (pytest.approx(0.0, abs=1e-12), 1.0)
    distance, p_value = kolmogorov_smirnov(grid**2, 99, 99)
    assert distance > 0.2
    assert p_value < 0.01


def test_clean_requests_and_windows_are_calibrated(
    draws: Draws, baseline: Baseline, traffic: Any
) -> None:
    own = traffic.draw(1200, np.random.default_rng([7, 1]))[1]
    found = request_calibration(baseline, draws.clean, own)

    assert found["requests"]["p_value"] > 0.001
    assert found["worst_class"]["p_value"] > 0.001
    rates = window_calibration(draws, 64, 200)
    assert list(rates) == [str(level) for level in LEVELS]
    assert rates["0.1"] == pytest.approx(0.1, abs=0.08)


def test_alarms_are_named_and_their_suspects_counted(
    draws: Draws, attack: Features, baseline: Baseline, traffic: Any
) -> None:
    drift = baseline.features(*baseline.rows(*traffic.drifted(400, np.random.default_rng(5))))

    assert patterns(draws, attack, 0.01, 20) == {"adversarial": 1.0, "drift": 0.0, "alarms": 20}
    assert patterns(draws, drift, 0.01, 20) == {"adversarial": 0.0, "drift": 1.0, "alarms": 20}
    assert patterns(draws, draws.clean, 1e-9, 5)["adversarial"] is None
    assert (suspects(draws, attack, 0.01, 20) or 0) > 0.9
    assert suspects(draws, draws.clean, 1e-9, 5) is None
