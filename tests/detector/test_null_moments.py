"""Moments of the null model: by class, and of classes with few rows those of all."""

import itertools

import numpy as np
import pytest

from latentwatch.detector.leave_out import LeftOut
from latentwatch.detector.null import PRIOR_PAIRS, NullModel
from latentwatch.detector.sketch import TAIL_EDGES


def left_out_rows(rows: int = 12, seed: int = 0) -> LeftOut:
    rng = np.random.default_rng(seed)
    psi = rng.standard_normal((rows, 3)).astype(np.float32)
    lengths = rng.gamma(3.0, size=rows)
    return LeftOut(np.arange(rows) % 3, lengths.astype(np.float32), psi, lengths, 9.0)


def shrunk(total: float, count: float, mean: float, prior: float) -> float:
    return (total + prior * mean) / (count + prior)


def test_moments_of_pairs_and_triples_are_means_by_class() -> None:
    rows = left_out_rows(45)
    k = rows.psi.astype(float) @ rows.psi.T
    n = range(len(k))
    group = rows.groups.tolist()
    pairs = [(i, j) for i in n for j in n if i != j]
    same = np.mean([k[i, j] ** 2 for i, j in pairs if group[i] == group[j]])
    other = np.mean([k[i, j] ** 2 for i, j in pairs if group[i] != group[j]])

    null = NullModel.fit(rows)
    table = null.pair_factors @ null.pair_factors.T + np.diag(null.pair_own)

    assert null.counts.tolist() == [15, 15, 15]
    for a, b in itertools.product(range(3), repeat=2):
        own = [k[i, j] ** 2 for i, j in pairs if (group[i], group[j]) == (a, b)]
        expected = shrunk(sum(own), len(own), same if a == b else other, PRIOR_PAIRS)
        # factors of a bounded number give the diagonal exactly, and the rest closely
        assert table[a, b] == pytest.approx(expected, rel=1e-4 if a == b else 0.05)
    cubes = [k[i, j] ** 3 for i, j in pairs if group[i] == group[j]]
    for a in range(3):
        own = [k[i, j] ** 3 for i, j in pairs if group[i] == group[j] == a]
        expected = shrunk(sum(own), len(own), float(np.mean(cubes)), PRIOR_PAIRS)
        assert null.pair_third[a] == pytest.approx(expected, rel=1e-4)
    assert null.pair_third[3] == pytest.approx(
        np.mean([k[i, j] ** 3 for i, j in pairs if group[i] != group[j]]), rel=1e-4
    )
    mixed = [
        k[i, j] * k[j, m] * k[m, i]
        for i, j in pairs
        for m in n
        if m not in (i, j) and not group[i] == group[j] == group[m]
    ]
    assert null.triangle[3] == pytest.approx(np.mean(mixed), rel=1e-3)


def test_pairs_of_many_classes_are_known_though_each_class_varies_most_with_itself() -> None:
    rng = np.random.default_rng(14)
    classes, own = 18, 6
    groups = np.repeat(np.arange(classes), 200)
    # a few directions that all classes share, and many that are a class's own
    psi = np.zeros((len(groups), 8 + classes * own), dtype=np.float32)
    psi[:, :8] = rng.standard_normal((len(groups), 8))
    for row, group in enumerate(groups):
        at = 8 + group * own
        psi[row, at : at + own] = 2.5 * rng.standard_normal(own)
    lengths = (psi.astype(float) ** 2).sum(axis=1)

    null = NullModel.fit(LeftOut(groups, lengths.astype(np.float32), psi, lengths, 99.0))
    table = null.pair_factors @ null.pair_factors.T

    between = table[~np.eye(classes, dtype=bool)]
    assert between == pytest.approx(np.full(len(between), 8.0), rel=0.25)
    assert between.mean() == pytest.approx(8.0, rel=0.03)
    mixed = np.full(classes, 1.0 / classes)
    # E k^2 is 8 between classes and 8 + 6 * 2.5^4 within
    expected = 2.0 * (8.0 + 6 * 2.5**4 * (64 / classes - 1) / 63)
    assert float(null.shift_variance(np.array(64.0), mixed)) == pytest.approx(expected, rel=0.05)


def test_moments_of_energies_are_those_of_each_class_and_of_few_rows_those_of_all() -> None:
    rng = np.random.default_rng(11)
    groups = np.repeat([0, 1, 2], [3000, 3000, 10])
    lengths = rng.gamma(4.0, np.where(groups == 1, 3.0, 1.0))
    psi = rng.standard_normal((len(groups), 2)).astype(np.float32)

    null = NullModel.fit(LeftOut(groups, lengths.astype(np.float32), psi, lengths, 99.0))

    assert null.distance_mean[:2] == pytest.approx([4.0, 12.0], rel=0.05)
    assert null.distance_variance[:2] == pytest.approx([4.0, 36.0], rel=0.15)
    assert null.distance_third[:2] == pytest.approx([8.0, 216.0], rel=0.5)
    assert 12.0 < null.distance_variance[2] < 25.0


def test_t_varies_more_where_a_class_of_wide_residuals_makes_the_traffic() -> None:
    rng = np.random.default_rng(12)
    groups = np.repeat([0, 1], 1000)
    psi = (rng.standard_normal((2000, 8)) * (1.0 + groups[:, None])).astype(np.float32)
    lengths = (psi.astype(float) ** 2).sum(axis=1)
    null = NullModel.fit(LeftOut(groups, lengths.astype(np.float32), psi, lengths, 99.0))

    variances = [
        float(null.shift_variance(np.array(128.0), np.array(p)))
        for p in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0])
    ]

    # E k^2 is 8 (s1 s2)^2, and (n - 1) T varies with twice its mean over pairs
    assert variances == pytest.approx([16.0, 16.0 * 2.5**2, 16.0 * 16.0], rel=0.1)


def test_each_class_has_its_own_share_of_small_p_values_as_far_as_its_rows_tell() -> None:
    rng = np.random.default_rng(13)
    groups = np.repeat([0, 1], 4000)
    # the same mean and deviation of the logarithm, but one of them hardly has a tail
    light = np.sqrt(3.0) * rng.uniform(-1.0, 1.0, 8000)
    squared_distance = np.exp(np.where(groups == 0, light, rng.standard_normal(8000)))
    psi = rng.standard_normal((8000, 2)).astype(np.float32)
    rows = LeftOut(groups, squared_distance.astype(np.float32), psi, squared_distance, 99.0)

    tails = NullModel.fit(rows).tails
    level = NullModel.fit(rows).typicality.tail_probabilities()

    at = int(np.searchsorted(TAIL_EDGES, 0.02))
    assert tails[0, at] < 0.2 * tails[1, at]
    assert tails.mean(axis=0) == pytest.approx(level, abs=0.002)
    few = NullModel.fit(
        LeftOut(
            groups[::100], rows.squared_distance[::100], psi[::100], squared_distance[::100], 99.0
        )
    )
    # forty rows say nothing about one p-value in a thousand
    assert few.tails[0, 0] == pytest.approx(few.tails[1, 0], rel=0.3)
