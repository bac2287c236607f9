"""What stays level counts as level, and what grows does not."""

import numpy as np

from latentwatch.lab.soak.fleet import Sample
from latentwatch.lab.soak.trend import lag_trend, slope, trends

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


def test_the_longest_life_of_each_worker_that_was_spared_is_judged() -> None:
    samples = [
        Sample(at, worker, 99 if at < 200 and not worker else worker, int(1e6 * memory), 5)
        for worker in range(3)
        for at, memory in zip(TIMES, np.where(TIMES < 200, 1_000.0, 150.0), strict=True)
    ]
    found = {trend.what: trend for trend in trends(samples, 2)}
    assert set(found) == {
        f"worker {n}: {what}" for n in range(2) for what in ("memory, MB", "open files")
    }
    reborn = found["worker 0: memory, MB"]
    assert (reborn.median, reborn.per_hour) == (150.0, 0.0)
    assert reborn.hours < 0.75 * 400 / 3600


def test_a_worker_that_never_lived_long_says_nothing() -> None:
    samples = [Sample(at, 0, int(at // 60), 1, 5) for at in TIMES]
    assert list(trends(samples, 1)) == []
