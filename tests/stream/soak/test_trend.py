"""What stays level counts as level, and what grows does not."""

import numpy as np

from stream.soak.fleet import Sample
from stream.soak.trend import lag_trend, slope, trends

TIMES = np.arange(0.0, 600.0, 2.0)
NOISE = np.random.default_rng(0).normal(0.0, 3.0, len(TIMES))


def test_noise_around_a_level_is_level() -> None:
    found = slope("worker 0: memory, MB", list(TIMES), list(200.0 + NOISE))
    assert found is not None
    assert found.low < 0.0 < found.high
    assert found.is_flat


def test_a_leak_grows() -> None:
    found = slope("worker 0: memory, MB", list(TIMES), list(200.0 + TIMES / 6.0 + NOISE))
    assert found is not None
    assert found.low < 600.0 < found.high
    assert not found.is_flat


def test_growth_at_the_start_alone_is_no_leak() -> None:
    values = 200.0 + np.minimum(TIMES, 100.0) + NOISE
    found = slope("worker 0: memory, MB", list(TIMES), list(values))
    assert found is not None
    assert found.is_flat


def test_a_short_time_says_nothing() -> None:
    assert slope("lag, messages", [0.0, 10.0], [1.0, 2.0]) is None
    assert list(lag_trend([], 1)) == []


def test_only_workers_that_were_spared_and_lived_are_judged() -> None:
    samples = [
        Sample(at, worker, 10 + worker if at < 300 or worker else 99, 1, 5)
        for at in TIMES
        for worker in range(3)
    ]
    assert {trend.what.split(":")[0] for trend in trends(samples, 2)} == {"worker 1"}
