"""Thresholds hold on fresh clean streams, and each known trap breaks them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentwatch.detector import Calibration, RunLengths, View
from latentwatch.detector.calibration import REFERENCE_SHARES, calibrate, window_blocks
from latentwatch.detector.decision import window_scores
from latentwatch.detector.features import BLOCK_ROWS, fit_feature_map, residuals_of_rows
from latentwatch.detector.leave_out import LeftOut, leave_out
from latentwatch.detector.null import NullModel, surprise
from latentwatch.detector.simulation import shifted_order
from latentwatch.detector.sketch import TAIL_EDGES

LONGEST, ROWS, STREAM, BASELINES, STREAMS = 256, 2400, 6016, 9, 5
CLASSES, WIDTH, FEATURES = 4, 16, 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """One baseline of a single layer, taken apart."""

    view: View
    left_out: LeftOut
    in_sample: LeftOut

    @classmethod
    def fit(cls, traffic: Any, seed: int, count: int = ROWS) -> "World":
        rows, groups = traffic.draw(count, np.random.default_rng([1, seed]))
        feature_map, residuals = fit_feature_map(
            rows["deep"],
            groups,
            CLASSES,
            np.arange(WIDTH),
            np.full(WIDTH, WIDTH**-0.5, dtype=np.float32),
            FEATURES,
            np.random.default_rng(seed),
        )
        left_out = leave_out(residuals, groups, radius_quantile=0.995)
        bounded = feature_map.with_radius(left_out.radius)
        view = View("deep", bounded, NullModel.fit(left_out), slice(0, FEATURES))
        squared_distance = (residuals**2).sum(axis=1)
        lengths = np.minimum(squared_distance, left_out.radius**2).astype(np.float64)
        naive = LeftOut(groups, squared_distance, residuals, lengths, left_out.radius)
        return cls(view, left_out, naive)

    def calibrated(
        self, rows: LeftOut | None = None, null: NullModel | None = None, longest: int = LONGEST
    ) -> Calibration:
        chosen = (rows or self.left_out, null or self.view.null)
        return calibrate([chosen], longest, 60_000, np.random.default_rng(0))

    def parts(
        self, rows: dict[str, Any], groups: NDArray[np.int64], null: NullModel
    ) -> tuple[NDArray[np.int64], ...]:
        """What windows sum up, for each row: `window_scores` takes the sums in this order."""
        psi, squared_distance = residuals_of_rows(self.view.map, rows["deep"], groups)
        exact = psi.astype(np.int64)
        bins = np.searchsorted(TAIL_EDGES, null.typicality.p_values(squared_distance, groups))
        return (
            np.eye(CLASSES, dtype=np.int64)[groups],
            exact,
            (exact**2).sum(axis=1),
            np.eye(len(TAIL_EDGES), dtype=np.int64)[bins],
        )

    def stream_scores(
        self, traffic: Any, seed: list[int], null: NullModel, shares: Floats | None = None
    ) -> Floats:
        """Highest score of all rolling windows after each block of a fresh clean stream."""
        rows = traffic.draw(STREAM, np.random.default_rng([2, *seed]), shares)
        view = replace(self.view, null=null)
        cumulated = [summed_up_to(part) for part in self.parts(*rows, null)]
        highest = np.full(STREAM // BLOCK_ROWS, -np.inf)
        for k in window_blocks(LONGEST):
            scores = window_scores(*(c[k:] - c[:-k] for c in cumulated), view)
            highest[k - 1 :] = np.maximum(highest[k - 1 :], scores)
        return highest

    def single_scores(self, traffic: Any, seed: int, size: int, count: int) -> Floats:
        """Scores of fresh clean windows that share no rows."""
        rows = traffic.draw(size * count, np.random.default_rng([6, seed]))
        parts = self.parts(*rows, self.view.null)
        return window_scores(*(summed(part, size) for part in parts), self.view)


def summed(values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Sums over consecutive rows."""
    return values.reshape(-1, size, *values.shape[1:]).sum(axis=1)


def summed_up_to(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over the first 0, 1, 2, ... blocks."""
    total = np.cumsum(summed(values, BLOCK_ROWS), axis=0)
    return np.concatenate([np.zeros_like(total[:1]), total])


@pytest.fixture(scope="module")
def worlds(deep_traffic: Any) -> list[World]:
    return [World.fit(deep_traffic, seed) for seed in range(BASELINES)]


@pytest.fixture(scope="module")
def calibrations(worlds: list[World]) -> list[Calibration]:
    return [world.calibrated() for world in worlds]


@pytest.fixture(scope="module")
def clean_scores(worlds: list[World], deep_traffic: Any) -> list[list[Floats]]:
    return [
        [world.stream_scores(deep_traffic, [b, s], world.view.null) for s in range(STREAMS)]
        for b, world in enumerate(worlds)
    ]


def realised_run_length(scores: list[list[Floats]], thresholds: list[float]) -> float:
    """Requests per alarm, with each stream watched until its first alarm."""
    requests = alarms = 0
    for streams, threshold in zip(scores, thresholds, strict=True):
        for stream in streams:
            above = np.flatnonzero(stream >= threshold)
            requests += BLOCK_ROWS * (len(stream) if not len(above) else int(above[0]) + 1)
            alarms += len(above) > 0
    return requests / max(alarms, 1)


@pytest.mark.slow
@pytest.mark.parametrize("target", [1_000, 5_000, 20_000])
def test_realised_run_length_on_fresh_streams_is_the_one_asked_for(
    calibrations: list[Calibration], clean_scores: list[list[Floats]], target: int
) -> None:
    thresholds = [c.run_lengths.threshold(target) for c in calibrations]

    realised = realised_run_length(clean_scores, thresholds)

    assert 0.5 * target < realised < 2.0 * target


@pytest.mark.slow
def test_realised_run_length_holds_for_another_class_mix(
    worlds: list[World], calibrations: list[Calibration], deep_traffic: Any
) -> None:
    shares = np.array([0.7, 0.1, 0.1, 0.1])
    scores = [
        [w.stream_scores(deep_traffic, [b, s], w.view.null, shares) for s in range(3)]
        for b, w in enumerate(worlds)
    ]

    realised = realised_run_length(scores, [c.run_lengths.threshold(5_000) for c in calibrations])

    assert 2_500 < realised < 10_000


def test_trap_resampling_with_replacement_makes_runs_far_too_long(
    worlds: list[World], calibrations: list[Calibration], clean_scores: list[list[Floats]]
) -> None:
    thresholds = []
    for world in worlds[:5]:
        drawn = np.random.default_rng(3).integers(0, ROWS, ROWS)
        rows = world.left_out
        copies = LeftOut(
            rows.groups[drawn],
            rows.squared_distance[drawn],
            rows.psi[drawn],
            rows.lengths[drawn],
            rows.radius,
        )
        thresholds.append(world.calibrated(copies).run_lengths.threshold(10_000))

    right = [c.run_lengths.threshold(10_000) for c in calibrations[:5]]
    assert np.mean(thresholds) > np.mean(right) + 0.15
    assert realised_run_length(clean_scores[:5], thresholds) > 1.5 * realised_run_length(
        clean_scores[:5], right
    )


def test_trap_in_sample_residuals_make_runs_far_too_short(
    worlds: list[World], deep_traffic: Any
) -> None:
    scores, thresholds = [], []
    for b, world in enumerate(worlds[:4]):
        null = NullModel.fit(world.in_sample)
        calibration = world.calibrated(world.in_sample, null)
        thresholds.append(calibration.run_lengths.threshold(20_000))
        scores.append([world.stream_scores(deep_traffic, [b, s], null) for s in range(3)])

    assert realised_run_length(scores, thresholds) < 20_000 / 2


def test_trap_the_marginal_quantile_ignores_that_windows_overlap(
    calibrations: list[Calibration], clean_scores: list[list[Floats]]
) -> None:
    """One window in 20,000 / 32 above the threshold is not one alarm in 20,000 requests."""
    share = BLOCK_ROWS / 20_000
    marginal = [
        max(float(np.quantile(s, 1 - share)) for n, s in c.window_scores.items() if n >= BLOCK_ROWS)
        for c in calibrations
    ]

    right = [c.run_lengths.threshold(20_000) for c in calibrations]
    assert np.mean(marginal) < np.mean(right) - 0.1
    assert realised_run_length(clean_scores, marginal) < 0.7 * realised_run_length(
        clean_scores, right
    )


def permuted_scores_without_widening(world: World, size: int, count: int) -> Floats:
    """The null distribution of a window with infinitely many rows."""
    rows, null = world.left_out, world.view.null
    rng = np.random.default_rng(4)
    rank = null.typicality.rank(rows.squared_distance, rows.groups)
    tails = ((rank / len(rank))[:, None] <= TAIL_EDGES).astype(float)
    z = []
    for _ in range(count):
        own = rng.permutation(len(rank))[:size]
        total = rows.psi[own].astype(np.float64).sum(axis=0)
        diagonal = float((rows.psi[own].astype(np.float64) ** 2).sum())
        z.append(
            null.z_scores(
                np.array([float(size)]),
                np.bincount(rows.groups[own], minlength=CLASSES)[None].astype(float),
                np.array([(total @ total - diagonal) / (size * (size - 1))]),
                np.array([rows.lengths[own].mean()]),
                tails[own].sum(axis=0)[None],
            )[0]
        )
    return surprise(np.array(z))


def test_trap_long_windows_of_few_rows_vary_less_than_fresh_ones(deep_traffic: Any) -> None:
    """Windows of 512 of 1,100 rows, at a nominal level of 1 %."""
    size, count, rows = 512, 16, 1100
    rejected, rejected_without_widening = [], []
    for seed in range(6):
        world = World.fit(deep_traffic, seed, rows)
        calibration = world.calibrated(longest=size)
        naive = np.sort(permuted_scores_without_widening(world, size, 300))
        fresh = world.single_scores(deep_traffic, seed, size, count)
        rejected += [calibration.p_value(size, score) <= 0.01 for score in fresh]
        rejected_without_widening += list(fresh > np.quantile(naive, 0.99))

    assert np.mean(rejected) < 0.06
    assert np.mean(rejected_without_widening) > 0.2


def test_windows_are_powers_of_two_blocks() -> None:
    assert window_blocks(512) == (1, 2, 4, 8, 16)
    assert window_blocks(32) == (1,)


def test_p_values_count_the_null_scores_that_reach_the_score() -> None:
    null = {32: np.arange(1.0, 10.0), 128: np.arange(11.0, 20.0)}
    calibration = Calibration(null, RunLengths(np.arange(100.0), 4_000), {})

    assert calibration.p_value(32, 8.5) == 2 / 10
    assert calibration.p_value(32, 8.0) == 3 / 10
    assert calibration.p_value(32, 99.0) == 1 / 10
    assert calibration.p_value(32, 0.0) == 1.0
    # interpolated on a logarithmic scale: 64 lies halfway between 32 and 128
    assert calibration.p_value(64, 10.0) == pytest.approx((0.1 + 1.0) / 2)
    assert calibration.p_value(100_000, 10.0) == 1.0
    assert calibration.p_value(8, 10.0) == 1 / 10


def test_the_power_against_the_reference_shift_grows_with_its_share_and_with_the_window(
    calibrations: list[Calibration],
) -> None:
    for calibration in calibrations[:3]:
        threshold = calibration.run_lengths.threshold(10_000)
        powers = np.stack([calibration.power(size, threshold) for size in (32, 64, 128, 256)])
        assert powers.shape == (4, len(REFERENCE_SHARES))
        assert powers[:, 0].max() < 0.1
        assert powers[:, -1].min() == 1.0
        assert (np.diff(powers, axis=1) > -0.15).all()
        shares = [calibration.smallest_share(size, threshold) or 9.0 for size in (32, 64, 128, 256)]
        assert shares == sorted(shares, reverse=True)
        assert 0.02 < shares[-1] < shares[0] <= 1.0
        assert calibration.smallest_share(32, 1e9) is None


def test_streams_of_shifted_mix_give_half_of_the_traffic_to_one_class_after_another() -> None:
    rng = np.random.default_rng(7)
    groups = rng.choice(6, 3000, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])

    order = shifted_order(groups, 6000, rng)

    assert len(order) == 6000
    places = range(0, 6000 - 128, 64)
    shares = [np.bincount(groups[order[at : at + 128]], minlength=6).max() / 128 for at in places]
    assert np.mean(np.array(shares) > 0.4) > 0.9
    leading = [
        int(np.bincount(groups[order[at : at + 128]], minlength=6).argmax()) for at in places
    ]
    assert set(leading) == set(range(6))
    # rows that come twice in a window would look like a shift
    assert all(len(set(order[at : at + 512].tolist())) == 512 for at in range(0, 5400, 100))


def test_a_single_class_can_shift_nothing() -> None:
    order = shifted_order(np.zeros(400, dtype=np.int64), 400, np.random.default_rng(8))

    assert sorted(order.tolist()) == list(range(400))


def test_calibration_is_repeatable_and_reports_its_progress(
    worlds: list[World], calibrations: list[Calibration]
) -> None:
    seen: list[tuple[int, int]] = []
    again = calibrate(
        [(worlds[0].left_out, worlds[0].view.null)],
        LONGEST,
        60_000,
        np.random.default_rng(0),
        progress=lambda done, total: seen.append((done, total)),
    )

    assert (again.run_lengths.maxima == calibrations[0].run_lengths.maxima).all()
    assert seen == [(done, 100) for done in range(1, 101)]
    assert again.run_lengths.requests == ROWS - LONGEST + BLOCK_ROWS
    assert set(again.window_scores) == {8, 16, 32, 64, 128, 256}
    for scores in [*again.window_scores.values(), again.run_lengths.maxima]:
        assert (np.diff(scores) >= 0.0).all()


def test_views_that_decide_together_meet_the_same_rows(worlds: list[World]) -> None:
    """The same view twice counts once: no independence is assumed between views."""
    pair = (worlds[0].left_out, worlds[0].view.null)
    once = calibrate([pair], LONGEST, 60_000, np.random.default_rng(5))
    twice = calibrate([pair, pair], LONGEST, 60_000, np.random.default_rng(5))

    assert (once.run_lengths.maxima == twice.run_lengths.maxima).all()
    for size, scores in once.window_scores.items():
        assert (scores == twice.window_scores[size]).all()
