"""The null model: z-scores of clean traffic are standard normal, p-values uniform."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import gamma, kstest, norm, skew

from latentwatch.detector import Baseline, Features
from latentwatch.detector.null import NullModel, Typicality, cube_root_normal, surprise
from latentwatch.detector.sketch import TAIL_EDGES

WindowZ = Callable[[Baseline, Features, int], NDArray[np.float64]]

BASELINES, BASELINE_ROWS, FRESH_ROWS = 10, 1200, 3072
ALL_ALIKE = np.full(4, 0.25)
MIXES = {"as fitted": None, "shifted": np.array([0.7, 0.1, 0.1, 0.1])}


@pytest.fixture(scope="module")
def clean(deep_traffic: Any) -> list[tuple[Baseline, dict[str, Features]]]:
    """Independent baselines, each with fresh rows of either class mix."""
    found = []
    for seed in range(BASELINES):
        baseline = deep_traffic.fit(BASELINE_ROWS, seed, simulated_requests=1_000)
        rng = np.random.default_rng([8, seed])
        fresh = {
            name: baseline.features(*baseline.rows(*deep_traffic.draw(FRESH_ROWS, rng, shares)))
            for name, shares in MIXES.items()
        }
        found.append((baseline, fresh))
    return found


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_z_scores_of_clean_windows_are_standard(
    clean: list[tuple[Baseline, dict[str, Features]]], window_z: WindowZ, mix: str, size: int
) -> None:
    z = np.concatenate([window_z(baseline, fresh[mix], size)[:, :2] for baseline, fresh in clean])

    # windows of one baseline share the error of its class means, hence the generous bound
    bound = 0.1 + 2.0 * np.sqrt(size / BASELINE_ROWS / BASELINES)
    assert np.abs(z.mean(axis=0)).max() < bound
    assert z.std(axis=0) == pytest.approx(1.0, abs=0.1 + 1.5 / np.sqrt(len(z)))


def test_one_class_alone_varies_more_than_a_mix_and_its_z_scores_do_not(
    clean: list[tuple[Baseline, dict[str, Features]]], deep_traffic: Any, window_z: WindowZ
) -> None:
    only = np.array([0.0, 1.0, 0.0, 0.0])
    z = []
    for seed, (baseline, _) in enumerate(clean):
        null = baseline.views[0].null
        alone, mixed = (float(null.shift_variance(np.array(64.0), p)) for p in (only, ALL_ALIKE))
        assert alone > 1.25 * mixed
        rows = deep_traffic.draw(1024, np.random.default_rng([9, seed]), only)
        z.append(window_z(baseline, baseline.features(*baseline.rows(*rows)), 64)[:, 0])

    assert np.concatenate(z).std() == pytest.approx(1.0, abs=0.15)


def test_p_values_of_fresh_rows_are_uniform(
    clean: list[tuple[Baseline, dict[str, Features]]],
) -> None:
    critical = 1.63 * np.sqrt(1 / BASELINE_ROWS + 1 / FRESH_ROWS)
    distances = [
        kstest(fresh["as fitted"].p_values[:, 0], "uniform").statistic for _, fresh in clean
    ]

    assert np.sum(np.array(distances) > critical) <= 1
    assert np.mean(distances) < 0.6 * critical


def test_p_values_are_uniform_in_every_class(
    clean: list[tuple[Baseline, dict[str, Features]]],
) -> None:
    for group in range(4):
        pooled = np.concatenate(
            [f["as fitted"].p_values[f["as fitted"].groups == group, 0] for _, f in clean]
        )
        assert kstest(pooled, "uniform").statistic < 0.04


def test_p_values_are_ranks_and_never_zero(baseline: Baseline, traffic: Any) -> None:
    rows = traffic.attacked(300, np.random.default_rng(0))

    p_values = baseline.score(*rows)

    assert p_values.min() == 1 / (1 + baseline.fitted_rows)
    multiples = p_values * (1 + baseline.fitted_rows)
    assert multiples == pytest.approx(np.rint(multiples), abs=1e-6)


def test_a_rank_counts_the_baseline_rows_that_are_at_least_as_atypical() -> None:
    rng = np.random.default_rng(0)
    groups = np.append(np.zeros(52, dtype=np.int64), np.ones(8, dtype=np.int64))
    squared_distance = (rng.gamma(5.0, size=60) * (1 + 9 * groups)).astype(np.float32)
    fresh = np.append(squared_distance, rng.gamma(5.0, size=40)).astype(np.float32)
    fresh_groups = np.append(groups, np.arange(40) % 2)

    def standard(values: NDArray[np.float32], group: int) -> NDArray[np.float64]:
        own = np.log(squared_distance[groups == group], dtype=np.float64)
        return (np.log(values, dtype=np.float64) - own.mean()) / own.std(ddof=1)

    reference = np.concatenate([standard(squared_distance[groups == g], g) for g in (0, 1)])
    expected = [
        int(np.sum(reference >= standard(np.array([e]), g) - 1e-12))
        for e, g in zip(fresh, fresh_groups, strict=True)
    ]

    typicality = Typicality.fit(squared_distance, groups)

    assert typicality.rank(fresh, fresh_groups).tolist() == expected
    assert sorted(expected[:60]) == list(range(1, 61))
    assert typicality.p_values(fresh, fresh_groups) == pytest.approx((1 + np.array(expected)) / 61)


def test_tail_probabilities_are_those_of_ranks() -> None:
    rng = np.random.default_rng(0)
    typicality = Typicality.fit(
        rng.gamma(5.0, size=130).astype(np.float32), np.zeros(130, dtype=np.int64)
    )
    possible = np.arange(1, 132) / 131

    expected = [(possible <= edge + 1e-12).sum() / 131 for edge in TAIL_EDGES]

    assert typicality.tail_probabilities() == pytest.approx(np.array(expected))


def gaussian_null(width: int, rows_per_class: int, classes: int = 2) -> NullModel:
    """What is known of standard Gaussian residuals, in closed form."""
    reference = np.sort(np.random.default_rng(1).standard_normal(4000))
    typicality = Typicality(np.zeros(classes), np.ones(classes), reference)
    return NullModel(
        counts=np.full(classes, rows_per_class),
        pair_factors=np.full((classes, 1), np.sqrt(width)),
        pair_own=np.zeros(classes),
        pair_third=np.zeros(classes + 1),
        triangle=np.full(classes + 1, float(width)),
        distance_mean=np.full(classes, float(width)),
        distance_variance=np.full(classes, 2.0 * width),
        distance_third=np.full(classes, 8.0 * width),
        tails=np.tile(typicality.tail_probabilities(), (classes, 1)),
        typicality=typicality,
    )


def gaussian_windows(
    null: NullModel, size: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """z-scores of T and E of windows whose class means are estimated from the counts."""
    width, classes = int(null.distance_mean[0]), len(null.counts)
    z = []
    for _ in range(count):
        groups = rng.integers(0, classes, size)
        error = rng.standard_normal((classes, width)) / np.sqrt(null.counts[:, None])
        psi = rng.standard_normal((size, width)) + error[groups]
        total, q = psi.sum(axis=0), float((psi**2).sum())
        counts = np.bincount(groups, minlength=classes)[None].astype(float)
        z.append(
            null.z_scores(
                np.array([float(size)]),
                counts,
                np.array([(total @ total - q) / (size * (size - 1))]),
                np.array([q / size]),
                np.zeros((1, len(TAIL_EDGES))),
            )[0]
        )
    return np.array(z)[:, 0], np.array(z)[:, 1]


@pytest.mark.parametrize(("size", "rows_per_class"), [(32, 10**9), (256, 10**9), (256, 300)])
def test_z_scores_of_gaussian_residuals_are_normal(size: int, rows_per_class: int) -> None:
    null = gaussian_null(32, rows_per_class)

    mean_shift, squared_distance = gaussian_windows(null, size, 1500, np.random.default_rng(2))

    assert kstest(mean_shift, norm.cdf).statistic < 1.63 / np.sqrt(1500)
    if (
        rows_per_class == 10**9
    ):  # the squared distance of a window also meets the error of the centres
        assert kstest(squared_distance, norm.cdf).statistic < 1.63 / np.sqrt(1500)


def test_energies_are_compared_with_means_that_are_estimates_themselves() -> None:
    null, size, rng = gaussian_null(32, rows_per_class=100), 128, np.random.default_rng(5)
    z = []
    for _ in range(800):
        estimated = rng.chisquare(32, (2, 100)).mean(axis=1)
        counts = rng.multinomial(size, [0.8, 0.2])[None].astype(float)
        squared_distance = rng.chisquare(32, size).mean()
        z.append(
            replace(null, distance_mean=estimated).z_scores(
                np.array([float(size)]),
                counts,
                np.zeros(1),
                np.array([squared_distance]),
                np.zeros((1, len(TAIL_EDGES))),
            )[0, 1]
        )

    assert np.mean(z) == pytest.approx(0.0, abs=0.12)
    assert np.std(z) == pytest.approx(1.0, abs=0.08)


def test_few_directions_make_t_skewed_and_the_tail_of_its_z_scores_is_normal_still() -> None:
    size, width, windows = 64, 4, 6000
    psi = np.random.default_rng(6).standard_normal((windows, size, width))
    q, total = (psi**2).sum(axis=(1, 2)), psi.sum(axis=1)
    T = ((total**2).sum(axis=1) - q) / (size * (size - 1))

    z = gaussian_null(width, 10**9).z_scores(
        np.full(windows, float(size)),
        np.full((windows, 2), size / 2),
        T,
        np.full(windows, float(width)),
        np.zeros((windows, len(TAIL_EDGES))),
    )[:, 0]

    assert skew(T) > 1.2
    assert np.quantile(z, [0.8, 0.9, 0.97, 0.99]) == pytest.approx(
        norm.ppf([0.8, 0.9, 0.97, 0.99]), abs=0.12
    )


def test_clean_traffic_is_expected_to_have_the_t_of_the_class_means_errors() -> None:
    null = gaussian_null(32, rows_per_class=100)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(4000):
        error = rng.standard_normal((2, 32)) / 10.0
        found.append(float(np.sum((0.75 * error[0] + 0.25 * error[1]) ** 2)))

    assert null.bias(np.array([0.75, 0.25])) == pytest.approx(np.mean(found), rel=0.02)


@pytest.mark.parametrize("shape", [1.0, 2.0, 8.0, 100.0])
def test_the_cube_root_makes_gamma_variables_normal(shape: float) -> None:
    probability = np.array([1e-5, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-6])
    standard = (gamma(shape).ppf(probability) - shape) / np.sqrt(shape)

    bent = cube_root_normal(standard, 2.0 / np.sqrt(shape))

    upper = probability >= 0.1
    assert bent[upper] == pytest.approx(norm.ppf(probability[upper]), rel=0.05, abs=0.04)
    assert (np.diff(bent) > 0).all()


def test_the_cube_root_leaves_symmetric_variables_alone() -> None:
    z = np.linspace(-4.0, 6.0, 21)

    assert cube_root_normal(z, 0.0) == pytest.approx(z, abs=1e-4)
    assert cube_root_normal(z, -0.5) == pytest.approx(z, abs=1e-4)


def test_a_score_is_the_logarithm_of_the_smallest_tail_probability() -> None:
    z = np.array([[3.0, 0.0, 0.0], [0.0, -4.0, 1.0], [0.0, 4.0, 1.0], [-9.0, 0.5, -np.inf],
                  [1.0, 1.0, 5.0], [40.0, 0.0, 0.0]])  # fmt: skip

    score = surprise(z)

    largest = [3.0, 4.0, 4.0, 0.5, 5.0]
    assert score[:5] == pytest.approx(-np.log10(norm.sf(largest)))
    # far beyond what a float holds as a probability
    assert score[5] == pytest.approx(349.4, abs=0.1)


def rank_score(null: NullModel, p_values: NDArray[np.float64]) -> float:
    size = len(p_values)
    tails = (p_values[:, None] <= TAIL_EDGES).sum(axis=0).astype(float)
    z = null.z_scores(
        np.array([float(size)]),
        np.array([[size / 2, size / 2]]),
        np.zeros(1),
        np.array([32.0]),
        tails[None],
    )
    return float(z[0, 2])


def test_the_rank_statistic_sees_a_few_per_cent_of_small_p_values() -> None:
    null = gaussian_null(32, 10**9)
    rng = np.random.default_rng(4)
    clean = [rank_score(null, rng.random(512)) for _ in range(400)]
    mixed = [
        rank_score(null, np.append(rng.random(486), rng.random(26) * 0.01)) for _ in range(100)
    ]

    assert np.mean(np.array(clean) > 3.0) < 0.02
    assert np.median(clean) < 1.5
    assert np.min(mixed) > 3.0


def test_levels_that_expect_hardly_any_p_value_are_not_used() -> None:
    null = gaussian_null(32, 10**9)

    # of 32 requests the first level that expects one and a half is 0.05, of 512 it is 0.005
    for size, few, low, lower, high in ((32, 4, 0.04, 5e-4, 0.09), (512, 12, 4e-3, 5e-4, 9e-3)):
        rest = np.linspace(0.2, 1.0, size - few)
        scores = [rank_score(null, np.append(rest, np.full(few, p))) for p in (low, lower, high)]
        assert scores[0] == scores[1] > scores[2]
    assert rank_score(null, np.full(512, 0.9)) < 0.0
