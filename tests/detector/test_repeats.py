"""Requests that repeat others: counted but never judged twice, for any batches."""

from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, Monitor, Sketch, decide
from latentwatch.detector.decision import LEAST_ROWS
from latentwatch.detector.rows import repeated, row_digests


@pytest.mark.parametrize("within", [1, 3, 100])
def test_a_row_repeats_one_of_those_just_before_it(within: int) -> None:
    digests = np.random.default_rng(0).integers(0, 20, 400).astype(np.uint64)

    expected = [d in digests[max(0, i - within) : i] for i, d in enumerate(digests)]

    assert repeated(digests, within).tolist() == expected


def test_the_smallest_change_of_a_row_is_another_row() -> None:
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.standard_normal((1, 64)).astype(np.float32), 200, axis=0)
    places = rng.integers(0, 64, 200)
    rows[np.arange(200), places] = np.nextafter(rows[np.arange(200), places], np.float32(9))
    same_place = {int(place): row for row, place in enumerate(places)}

    digests = row_digests(rows, np.zeros(200, dtype=np.int64))

    assert len(set(digests.tolist())) == len(same_place)
    assert row_digests(rows[:1], np.array([1]))[0] != digests[0]
    # the same bits in another batch
    assert np.array_equal(row_digests(rows[3:7].copy(), np.zeros(4, dtype=np.int64)), digests[3:7])


def decisions(monitor: Monitor, rows: Any, predicted: Any, batch: int) -> list[Any]:
    return [
        decision
        for at in range(0, len(predicted), batch)
        for decision in monitor.update(
            {name: values[at : at + batch] for name, values in rows.items()},
            predicted[at : at + batch],
        )
    ]


@pytest.fixture
def monitor(baseline: Baseline) -> Monitor:
    return Monitor(baseline, average_run_length=10_000)


def test_repeats_are_counted_and_add_nothing_to_the_sums(
    baseline: Baseline, monitor: Monitor, traffic: Any
) -> None:
    rows, predicted = traffic.draw(48, np.random.default_rng(2))
    twice = {name: np.concatenate([values, values[:16]]) for name, values in rows.items()}

    decisions(monitor, twice, np.append(predicted, predicted[:16]), 64)
    whole = sum(monitor.ring[1:], monitor.ring[0])

    features = baseline.features(*baseline.rows(rows, predicted))
    once = baseline.sketch(features)
    assert (whole.rows, whole.judged) == (64, 48)
    assert np.array_equal(whole.lengths, once.lengths)
    assert np.array_equal(whole.histogram, once.histogram)
    assert np.array_equal(whole.group_counts, once.group_counts)
    assert [s.request_id for s in whole.suspects] == [s.request_id for s in once.suspects]


@pytest.mark.parametrize("batch", [1, 7, 32, 500])
def test_repeats_are_the_same_in_other_batches_and_after_a_restart(
    baseline: Baseline, traffic: Any, batch: int
) -> None:
    rng = np.random.default_rng(3)
    rows, predicted = traffic.draw(300, rng)
    order = rng.integers(0, 300, 700)
    stream = {name: values[order] for name, values in rows.items()}
    whole = Monitor(baseline, average_run_length=10_000)
    parts = Monitor(baseline, average_run_length=10_000)

    expected = decisions(whole, stream, predicted[order], 700)
    found = []
    for at in range(0, 700, 175):
        piece = {name: values[at : at + 175] for name, values in stream.items()}
        found += decisions(parts, piece, predicted[order][at : at + 175], batch)
        parts = Monitor.restore(baseline, parts.state_bytes(), average_run_length=10_000)

    assert [d.sketch.to_bytes() for d in found] == [d.sketch.to_bytes() for d in expected]
    assert parts.state_bytes() == whole.state_bytes()
    judged = sum(monitor.judged for monitor in whole.ring)
    assert 0 < judged < sum(sketch.rows for sketch in whole.ring)


def test_a_flood_of_one_request_raises_nothing_and_hides_no_attack(
    baseline: Baseline, monitor: Monitor, traffic: Any
) -> None:
    rng = np.random.default_rng(4)
    benign, attack = traffic.draw(256, rng), traffic.attacked(64, rng)
    flood = {name: np.repeat(values[:1], 600, axis=0) for name, values in benign[0].items()}

    flooded = decisions(monitor, flood, np.repeat(benign[1][:1], 600), 100)

    assert not any(decision.alarm for decision in flooded)
    # the ring holds a single distinct request: there is nothing to decide
    assert (flooded[-1].score, flooded[-1].p_value, dict(flooded[-1].views)) == (0.0, 1.0, {})
    copies = {
        name: np.concatenate([np.repeat(benign[0][name][:1], 576, axis=0), attack[0][name]])
        for name in flood
    }
    shuffled = rng.permutation(640)
    predicted = np.append(np.repeat(benign[1][:1], 576), attack[1])
    hidden = decisions(
        monitor, {n: v[shuffled] for n, v in copies.items()}, predicted[shuffled], 64
    )
    assert any(decision.alarm for decision in hidden)


def test_the_statistics_of_a_window_are_those_of_its_distinct_requests(
    baseline: Baseline, traffic: Any
) -> None:
    features = baseline.features(*baseline.rows(*traffic.attacked(40, np.random.default_rng(5))))
    marked = np.arange(40) >= 30

    window = decide(baseline.sketch(features.repeating(marked)), baseline)
    without = decide(baseline.sketch(features.take(slice(0, 30))), baseline)

    assert window.sketch.rows == 40
    assert (window.views, window.p_value) == (without.views, without.p_value)
    assert window.contamination == without.contamination


def test_sketches_keep_how_many_were_judged(baseline: Baseline, traffic: Any) -> None:
    features = baseline.features(*baseline.rows(*traffic.draw(20, np.random.default_rng(6))))
    sketch = baseline.sketch(features.repeating(np.arange(20) % 2 == 0))

    again = Sketch.from_bytes(sketch.to_bytes()) + sketch

    assert (again.rows, again.judged) == (40, 20)
    assert sketch.judged >= LEAST_ROWS
