"""Thin, pulsed, masked and spread attacks on a small baseline: expected results."""

import numpy as np
import pytest

from latentwatch.detector import Baseline
from latentwatch.detector.evaluation.hostility import (
    FLOODS,
    LANES,
    PULSES,
    SAMPLED_BURSTS,
    SAMPLING_RATES,
    SHARES,
    Hostility,
)
from latentwatch.detector.evaluation.runs import Rows


@pytest.fixture(scope="module")
def hostility() -> Hostility:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(
        {"deep": rng.standard_normal((800, 8))},
        np.arange(800) % 2,
        model="m",
        version="1",
        longest_window=64,
        random_features=64,
        simulated_requests=300_000,
    )

    def rows(count: int, scale: float) -> Rows:
        values = scale * rng.standard_normal((count, 8))
        return Rows(*baseline.rows({"deep": values}, np.arange(count) % 2))

    return Hostility(baseline, rows(1000, 1.0), rows(600, 4.0), 2, 0)


def test_strong_attacks_are_seen_and_quiet_traffic_is_not(hostility: Hostility) -> None:
    found = hostility.dilution()
    assert list(found) == [*SHARES, 0.0]
    assert found[0.3] == found[0.1] == 1.0
    assert found[0.0] == 0.0
    assert hostility.dilution() == found


def test_bursts_of_a_whole_window_are_seen_wherever_they_begin(hostility: Hostility) -> None:
    found = hostility.pulses()
    assert list(found) == list(PULSES)
    assert found[32] == (1.0, 1.0)


def test_copies_neither_mask_an_attack_nor_alarm(hostility: Hostility) -> None:
    found = hostility.floods()
    assert set(found) == {
        ("copies", 0.0),
        *((kind, f) for kind in ("copies", "near copies", "fresh") for f in FLOODS if f),
    }
    assert found["copies", 0.5] == found["copies", 0.0] == (1.0, 0.0)


def test_a_shifted_mix_does_not_hide_an_attack(hostility: Hostility) -> None:
    found = hostility.label_mix()
    assert found[0.5, 0.0] == 0.0
    assert found[0.5, 0.05] == 1.0


def test_hours_see_what_is_spread_over_lanes(hostility: Hostility) -> None:
    found = hostility.lanes()
    assert list(found) == list(LANES)
    assert found[1] == (1.0, 1.0)
    assert {hour for _, hour in found.values()} == {1.0}


def test_sampling_costs_delay_and_short_bursts(hostility: Hostility) -> None:
    found = hostility.sampling()
    assert list(found) == list(SAMPLING_RATES)
    assert {tuple(bursts) for _, bursts in found.values()} == {SAMPLED_BURSTS}
    whole, sampled = found[1.0][0], found[0.05][0]
    assert whole is not None
    assert sampled is not None
    # as many judged requests are needed, up to the end of their block
    assert sampled >= 20 * 32 > whole >= 32
    assert found[1.0][1][256] == 1.0
    assert found[0.05][1][256] < 1.0
