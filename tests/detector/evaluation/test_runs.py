"""Benign streams that are not independent, and delays of attacks."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline
from latentwatch.detector.evaluation.runs import (
    DELAY_SHARES,
    Rows,
    class_share,
    class_stream,
    delays,
    monitored,
    run_length_steps,
    run_lengths,
    sessions,
)
from latentwatch.detector.evaluation.streams import StreamScorer, alarms

PREDICTED = np.repeat([0, 1, 2], [600, 300, 100])


def test_half_of_a_class_stream_is_of_that_class_and_no_row_comes_twice_in_a_window() -> None:
    stream = class_stream(np.random.default_rng(0), PREDICTED, 1, 20_000, 256)

    assert stream is not None
    own = PREDICTED[stream] == 1
    assert own.mean() == pytest.approx(0.5, abs=0.02)
    for start in range(0, len(stream) - 256, 97):
        window = stream[start : start + 256]
        assert len(set(window.tolist())) == 256
    # the others keep their own mix
    assert np.mean(PREDICTED[stream[~own]] == 0) == pytest.approx(6 / 7, abs=0.02)


def test_a_rare_class_gets_a_share_that_its_rows_allow() -> None:
    assert class_share(100, 256) == pytest.approx(0.75 * 100 / 256)
    assert class_share(1_000, 256) == 0.5
    # too few rows of all others together
    assert class_stream(np.random.default_rng(0), PREDICTED, 0, 1_000, 5_000) is None


def test_sessions_stay_with_a_class_and_repeat_requests() -> None:
    stream = sessions(np.random.default_rng(1), PREDICTED, 20_000)

    classes = PREDICTED[stream]
    shares = np.bincount(classes) / len(stream)
    stays = np.mean(classes[1:] == classes[:-1])
    repeats = np.mean([row in set(stream[max(0, i - 64) : i]) for i, row in enumerate(stream)])
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    # 0.9 of the requests are no retries; of them 0.8 stay, and the others meet the class by chance
    assert stays == pytest.approx(0.9 * 0.89 + 0.1 * 0.63, abs=0.06)
    assert repeats >= 0.1


@pytest.fixture(scope="module")
def clean(baseline: Baseline, traffic: Any) -> Rows:
    return Rows(*baseline.rows(*traffic.draw(1500, np.random.default_rng(4))))


def test_monitors_raise_the_alarms_that_the_whole_stream_shows(
    baseline: Baseline, clean: Rows
) -> None:
    stream = np.random.default_rng(5).permutation(len(clean.rows))
    features = baseline.features(clean.rows, clean.predicted)

    for target in (300, 1_000):
        whole = alarms(StreamScorer(baseline, features).scores(stream), baseline.threshold(target))
        assert monitored(baseline, clean, stream, target) == pytest.approx(len(whole), abs=1)


def test_realised_run_lengths_of_benign_streams_are_those_asked_for(
    baseline: Baseline, clean: Rows
) -> None:
    steps: list[int] = []
    features = baseline.features(clean.rows, clean.predicted)
    found = run_lengths(baseline, features, clean, 50, 6, lambda: steps.append(1))

    assert len(steps) == run_length_steps(clean.predicted)
    assert set(found.arl) == set(found.detail) == {"1000", "10000"}
    short = found.arl["1000"]
    assert set(short) == {"iid", "class_shift", "autocorrelated"}
    # fifteen hundred rows that repeat many times are one sample: wide bounds
    assert 500 < (short["iid"] or 0) < 2_500
    assert 400 < (short["class_shift"] or 0) < 3_000
    low, high = found.detail["1000"]["iid"]["interval"]
    assert low < (short["iid"] or 0) < high
    assert found.detail["1000"]["iid"]["requests"] == pytest.approx(100_000, rel=0.01)
    assert set(found.detail["1000"]["class_shift"]) >= {"lowest_class", "least_share"}


def test_stronger_attacks_are_seen_sooner(baseline: Baseline, clean: Rows, traffic: Any) -> None:
    attack = baseline.features(*baseline.rows(*traffic.attacked(800, np.random.default_rng(7))))
    features = baseline.features(clean.rows, clean.predicted)

    found = delays(baseline, features, attack, 20, 8, lambda: None)

    assert list(found.median) == [str(share) for share in DELAY_SHARES]
    medians = [found.median[str(share)] for share in (1.0, 0.3, 0.1)]
    assert all(value is not None for value in medians)
    assert medians == sorted(medians, key=lambda value: value or 0)
    assert (medians[0] or 0) <= 64
    assert all((found.ninety[s] or 1e9) >= (found.median[s] or 0) for s in found.median)
    assert all(10 < count <= 20 for count in found.streams.values())
