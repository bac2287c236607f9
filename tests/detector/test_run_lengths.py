"""Thresholds by run length, on maxima whose law is known exactly."""

import numpy as np
import pytest

from latentwatch.detector import BaselineError, RunLengths
from latentwatch.detector.calibration import lengthened


def exponential_runs(runs: int, requests: int, seed: int = 0) -> RunLengths:
    """Maxima of runs of which one request in 10^b climbs above b: the law is known exactly."""
    u = np.random.default_rng(seed).random(runs)
    return RunLengths(np.sort(np.log10(requests / -np.log(u))), requests)


@pytest.mark.parametrize("run_length", [1_000, 4_000, 10_000, 100_000, 10_000_000])
def test_thresholds_of_a_known_law_are_found_and_extrapolated(run_length: int) -> None:
    runs = exponential_runs(20_000, requests=4_000)

    expected = np.log10(lengthened(run_length))
    assert runs.threshold(run_length) == pytest.approx(expected, abs=0.15)


def test_long_run_lengths_are_asked_for_longer_still() -> None:
    """Fresh traffic has a heavier tail than rows drawn without replacement."""
    assert [lengthened(length) for length in (256.0, 999.0, 1_000.0)] == [256.0, 999.0, 1_000.0]
    assert lengthened(10_000) == pytest.approx(12_023, abs=1)
    assert lengthened(1_000_000) == pytest.approx(1_737_801, abs=1)
    lengths = np.geomspace(256, 10**9, 200)
    assert (np.diff([lengthened(float(length)) for length in lengths]) > 0).all()


def test_thresholds_rise_with_the_run_length_without_a_jump() -> None:
    runs = exponential_runs(240, requests=4_512)
    lengths = np.geomspace(256, 10**8, 400)

    thresholds = np.array([runs.threshold(float(length)) for length in lengths])

    assert (np.diff(thresholds) >= 0.0).all()
    assert np.diff(thresholds).max() < 0.1


@pytest.mark.parametrize("run_length", [2_000, 10_000, 100_000])
def test_the_interval_of_the_run_length_covers_what_is_realised(run_length: int) -> None:
    covered = []
    for seed in range(300):
        runs = exponential_runs(240, requests=4_512, seed=seed)
        low, high = runs.interval(run_length)
        assert low < run_length < high
        realised = 10 ** runs.threshold(run_length) * run_length / lengthened(run_length)
        covered.append(low < realised < high)

    assert 0.88 < np.mean(covered) <= 1.0


def test_more_simulated_runs_make_the_interval_narrower() -> None:
    def width(runs: int) -> float:
        low, high = exponential_runs(runs, requests=4_512).interval(50_000)
        return high / low

    assert width(2_000) < 0.8 * width(200)


@pytest.mark.parametrize("run_length", [0, -5, 255, float("nan"), float("inf")])
def test_run_lengths_that_mean_nothing_are_refused(run_length: float) -> None:
    with pytest.raises(BaselineError, match="state how many benign requests should pass"):
        exponential_runs(100, 4_000).threshold(run_length)


def test_run_lengths_far_beyond_what_was_simulated_are_refused() -> None:
    runs = exponential_runs(100, 4_000)

    assert runs.longest == 100 * 100 * 4_000
    assert runs.threshold(runs.longest) > runs.threshold(runs.longest / 2)
    with pytest.raises(BaselineError, match="40,000,001 requests per lane cannot be promised"):
        runs.threshold(runs.longest + 1)
