"""Streams for evaluation: drawn as documented, and scored like a monitor."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, Monitor, Requests
from latentwatch.detector.evaluation.streams import (
    CHUNK_ROWS,
    RunLengthEstimate,
    StreamScorer,
    alarms,
    joined,
    quantile_of_delays,
    spaced,
)


@pytest.mark.parametrize(("rows", "apart"), [(100, 10), (100, 90), (40, 512)])
def test_no_row_comes_again_too_soon_and_all_come_equally_often(rows: int, apart: int) -> None:
    stream = spaced(np.random.default_rng(0), rows, 400 * rows, apart)

    gap = min(max(apart, rows // 2), rows - rows // 8)
    last: dict[int, int] = {}
    for place, row in enumerate(stream.tolist()):
        assert place - last.get(row, -rows) > gap
        last[row] = place
    counts = np.bincount(stream, minlength=rows)
    assert counts.min() > 300
    assert counts.max() < 500


def test_fewer_draws_than_the_gap_are_a_permutation_of_some_rows() -> None:
    stream = spaced(np.random.default_rng(1), 100, 30, 60)

    assert len(stream) == len(set(stream.tolist())) == 30


def test_scores_are_those_of_a_monitor_on_the_same_rows(baseline: Baseline, traffic: Any) -> None:
    rng = np.random.default_rng(2)
    rows, predicted = baseline.rows(*traffic.draw(CHUNK_ROWS + 700, rng))
    scorer = StreamScorer(baseline, baseline.features(rows, predicted))
    stream = rng.permutation(len(rows))
    monitor = Monitor(baseline, average_run_length=10_000)

    requests = Requests.anonymous(len(rows))
    judged = monitor.push(rows[stream], predicted[stream], requests)
    found = np.full(len(judged), -np.inf)
    for k, values in scorer.scores(stream).items():
        found[k - 1 :] = np.maximum(found[k - 1 :], values)

    assert len(judged) == len(rows) // 32
    expected = [decision.score for _, decision in judged]
    # a row's last bits depend on its place in a block, so that psi may be off by a grid step
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.01)


def test_after_an_alarm_the_ring_starts_empty() -> None:
    scores = {
        1: np.array([0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 9.0]),
        2: np.array([0.0, 9.0, 9.0, 0.0, 9.0, 9.0]),
    }

    # the windows of two blocks that begin before block 1 has gone are those of the old ring
    assert alarms(scores, 5.0) == [1, 3, 5, 6]
    assert alarms(scores, 10.0) == []


def test_sets_are_joined_in_order(baseline: Baseline, traffic: Any) -> None:
    rng = np.random.default_rng(3)
    first, second = (
        baseline.features(*baseline.rows(*traffic.draw(rows, rng))) for rows in (40, 24)
    )

    both = joined(first, second)

    assert len(both) == 64
    np.testing.assert_array_equal(both.psi[40:], second.psi)
    np.testing.assert_array_equal(both.p_values[:40], first.p_values)


def test_a_run_length_is_requests_over_alarms_with_an_exact_interval() -> None:
    estimate = RunLengthEstimate(6_000, 4) + RunLengthEstimate(4_000, 6)

    assert estimate == RunLengthEstimate(10_000, 10)
    assert estimate.value == 1_000.0
    # Garwood's interval of ten Poisson events: 4.795 to 18.39
    assert estimate.interval == pytest.approx((10_000 / 18.390, 10_000 / 4.795), rel=1e-3)


def test_without_an_alarm_a_lower_end_remains() -> None:
    low, high = RunLengthEstimate(30_000, 0).interval

    assert RunLengthEstimate(30_000, 0).value is None
    assert low == pytest.approx(30_000 / 3.689, rel=1e-3)
    assert high is None
    assert RunLengthEstimate(0, 0).interval == (None, None)


def test_a_quantile_of_delays_that_were_never_seen_is_none() -> None:
    delays = np.array([32.0, np.inf, 64.0, 96.0])

    assert quantile_of_delays(delays, 0.5) == 64.0
    assert quantile_of_delays(delays, 0.75) == 96.0
    assert quantile_of_delays(delays, 0.9) is None
    assert quantile_of_delays(np.empty(0), 0.5) is None
