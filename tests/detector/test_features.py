"""The feature map: the residuals, and bits that depend neither on other rows nor on threads."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi

from latentwatch.detector import ConstantFeaturesError
from latentwatch.detector.exact import gaussian_kernel
from latentwatch.detector.features import (
    BANDWIDTHS,
    CHUNK_ROWS,
    GRID,
    SPECTRAL_CUTOFF,
    FeatureMap,
    fit_feature_map,
    group_means,
    median_distance,
    orthogonal_frequencies,
    residuals_of_rows,
    whitening_matrix,
)

WIDTH, GROUPS = 6, 3


def rows_and_groups(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.arange(count) % GROUPS
    rows = rng.standard_normal((count, WIDTH)) + 2.0 * groups[:, None]
    return rows.astype(np.float32), groups


def fitted(random_features: int = 64, count: int = 600) -> tuple[FeatureMap, np.ndarray]:
    rows, groups = rows_and_groups(count)
    columns, weight = np.arange(WIDTH), np.full(WIDTH, WIDTH**-0.5, dtype=np.float32)
    rng = np.random.default_rng(1)
    return fit_feature_map(rows, groups, GROUPS, columns, weight, random_features, rng)


def test_fourier_features_have_length_one() -> None:
    rows, _ = rows_and_groups(100)
    feature_map, _ = fitted()

    assert np.linalg.norm(feature_map.fourier(rows), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_fourier_features_approximate_the_mixture_of_gaussian_kernels() -> None:
    rows, _ = rows_and_groups(600)
    feature_map, _ = fitted(random_features=512)
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0) * WIDTH**-0.5
    scale = median_distance(standard, np.random.default_rng(0))

    phi = feature_map.fourier(rows[:150])

    kernel = gaussian_kernel(standard[:150], standard[:150], scale * np.array(BANDWIDTHS))
    assert np.abs(phi @ phi.T - kernel).max() < 0.05


def test_frequencies_are_orthogonal_within_a_block_and_as_long_as_gaussian_vectors() -> None:
    width = 12
    frequencies = orthogonal_frequencies(width, 5 * width - 3, np.random.default_rng(2))

    assert frequencies.shape == (width, 5 * width - 3)
    for start in range(0, frequencies.shape[1], width):
        block = frequencies[:, start : start + width]
        inner = block.T @ block
        assert inner - np.diag(np.diag(inner)) == pytest.approx(0.0, abs=1e-9)
    lengths = np.linalg.norm(orthogonal_frequencies(width, 3000, np.random.default_rng(3)), axis=0)
    assert lengths.mean() == pytest.approx(chi(width).mean(), rel=0.01)
    assert lengths.std() == pytest.approx(chi(width).std(), rel=0.05)


def test_orthogonal_frequencies_approximate_the_kernel_better_than_independent_ones() -> None:
    rng = np.random.default_rng(4)
    points = rng.standard_normal((40, 16)) * 0.2
    kernel = gaussian_kernel(points, points, 1.0)

    def error(frequencies: np.ndarray) -> float:
        angle = points @ frequencies
        phi = np.hstack([np.cos(angle), np.sin(angle)]) * angle.shape[1] ** -0.5
        return float(np.mean((phi @ phi.T - kernel) ** 2))

    orthogonal = np.mean([error(orthogonal_frequencies(16, 128, rng)) for _ in range(20)])
    independent = np.mean([error(rng.standard_normal((16, 128))) for _ in range(20)])

    assert orthogonal < 0.3 * independent < 0.001


def test_in_sample_residuals_have_mean_zero_in_every_class_and_are_white() -> None:
    _, groups = rows_and_groups(600)
    _, residuals = fitted()

    assert group_means(residuals, groups, GROUPS) == pytest.approx(0.0, abs=2e-4)
    spectrum = np.linalg.eigvalsh(residuals.T.astype(np.float64) @ residuals / (600 - GROUPS))
    assert spectrum.max() == pytest.approx(1.0, abs=1e-3)
    assert np.median(spectrum) > 0.98
    assert spectrum.min() >= 0.0


def test_whitening_damps_directions_below_the_cutoff() -> None:
    rng = np.random.default_rng(0)
    deviations = np.array([1.0, 0.1, 1e-3, 1e-6])
    residuals = rng.standard_normal((4000, 4)) * deviations

    whitened = residuals @ whitening_matrix(residuals, 4000)

    # the faintest direction is below the cutoff, the third is at it
    spectrum = np.linalg.eigvalsh(whitened.T @ whitened / 4000)
    assert np.sqrt(spectrum) == pytest.approx([1e-3, np.sqrt(0.5), 1.0, 1.0], rel=0.05)


def test_whitening_is_the_triangular_root_of_the_regularised_inverse_covariance() -> None:
    rng = np.random.default_rng(0)
    residuals = rng.standard_normal((4000, 30)) @ rng.standard_normal((30, 30))
    covariance = residuals.T @ residuals / 4000
    cutoff = SPECTRAL_CUTOFF * np.linalg.eigvalsh(covariance)[-1]

    whitening = whitening_matrix(residuals, 4000)

    assert (whitening == np.triu(whitening)).all()
    inverse = np.linalg.inv(covariance + cutoff * np.eye(30))
    assert whitening @ whitening.T == pytest.approx(inverse, rel=1e-6, abs=1e-9)


def test_group_means_are_the_means_of_each_group() -> None:
    rows, groups = rows_and_groups(50)

    means = group_means(rows, groups, GROUPS)

    for group in range(GROUPS):
        assert means[group] == pytest.approx(rows[groups == group].mean(axis=0), abs=1e-5)


def test_median_distance_of_gaussian_rows_is_the_known_one() -> None:
    rows = np.random.default_rng(0).standard_normal((5000, 20)).astype(np.float32)

    assert median_distance(rows, np.random.default_rng(1)) == pytest.approx(
        np.sqrt(2) * chi(20).median(), rel=0.02
    )


def test_outliers_count_as_eight_standard_deviations_and_overflow_nowhere() -> None:
    _rows, _ = rows_and_groups(600)
    feature_map, _ = fitted()
    feature_map = replace(feature_map, scale=feature_map.scale * np.float32(1000.0))
    edge = (feature_map.mean + 8.0 / feature_map.scale).astype(np.float32)
    beyond = (feature_map.mean + 11.0 / feature_map.scale).astype(np.float32)
    block = np.stack([edge, beyond, np.full_like(edge, 3e38), -np.full_like(edge, 3e38)])

    phi = feature_map.fourier(block)

    assert np.isfinite(phi).all()
    assert phi[0] == pytest.approx(phi[1], abs=1e-5)
    assert (phi[1] == phi[2]).all()
    assert not np.allclose(phi[2], phi[3])


def test_residuals_are_rounded_to_the_grid_and_energies_are_not() -> None:
    rows, groups = rows_and_groups(CHUNK_ROWS)
    feature_map, _ = fitted()
    centred = feature_map.fourier(rows).astype(np.float64) - feature_map.centres[groups]
    exact = centred @ feature_map.whitening

    psi, squared_distance = feature_map.residuals(rows, groups)

    assert psi.dtype == np.int16
    assert psi.shape == (CHUNK_ROWS, feature_map.rank)
    assert np.abs(psi / GRID - exact).max() <= 0.5 / GRID + 3e-5
    assert squared_distance == pytest.approx((exact**2).sum(axis=1), rel=1e-5)


def test_long_residuals_are_shortened_to_the_radius_and_keep_direction_and_energy() -> None:
    rows, groups = rows_and_groups(CHUNK_ROWS)
    free, _ = fitted()
    psi, squared_distance = free.residuals(rows, groups)
    radius = float(np.sqrt(np.median(squared_distance)))

    bounded, same_energy = free.with_radius(radius).residuals(rows, groups)

    lengths = np.linalg.norm(bounded / GRID, axis=1)
    long = squared_distance > radius**2
    assert (same_energy == squared_distance).all()
    assert (bounded[~long] == psi[~long]).all()
    assert lengths[long] == pytest.approx(radius, rel=1e-3)
    cosine = np.sum(bounded[long] * 1.0 * psi[long], axis=1) / (
        np.linalg.norm(bounded[long], axis=1) * np.linalg.norm(psi[long], axis=1)
    )
    assert cosine == pytest.approx(1.0, abs=1e-4)


def test_bits_of_a_row_depend_on_its_place_in_the_block_alone() -> None:
    feature_map, _ = fitted()
    rows, groups = rows_and_groups(CHUNK_ROWS, seed=5)
    others, other_groups = rows_and_groups(CHUNK_ROWS, seed=6)
    psi, squared_distance = feature_map.residuals(rows, groups)

    for place in (0, 13, CHUNK_ROWS - 1):
        mixed, mixed_groups = others.copy(), other_groups.copy()
        mixed[place], mixed_groups[place] = rows[place], groups[place]
        same_psi, same_energy = feature_map.residuals(mixed, mixed_groups)
        assert (same_psi[place] == psi[place]).all()
        assert same_energy[place] == squared_distance[place]


@pytest.mark.parametrize("first", [0, 1, 32, 96, 127, 128, 200])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 100, 128, 190])
def test_any_part_of_the_rows_gives_the_bits_of_the_whole(first: int, count: int) -> None:
    feature_map, _ = fitted()
    rows, groups = rows_and_groups(400, seed=7)
    all_psi, all_energy = residuals_of_rows(feature_map, rows, groups)
    part = slice(first, first + count)

    psi, squared_distance = residuals_of_rows(
        feature_map, rows[part], groups[part], first % CHUNK_ROWS
    )

    assert psi.shape == (count, feature_map.rank)
    assert (psi == all_psi[part]).all()
    assert (squared_distance == all_energy[part]).all()


def test_rows_are_featurised_in_one_fixed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits may depend on the shape: they do for a single row, and may for others."""
    feature_map, _ = fitted()
    shapes = []
    residuals = FeatureMap.residuals

    def watched(self: FeatureMap, rows: np.ndarray, groups: np.ndarray) -> tuple[Any, Any]:
        shapes.append(rows.shape)
        return residuals(self, rows, groups)

    monkeypatch.setattr(FeatureMap, "residuals", watched)
    for count, place in ((1, 0), (128, 0), (128, 64), (270, 96)):
        residuals_of_rows(feature_map, *rows_and_groups(count), place)

    assert shapes == [(CHUNK_ROWS, WIDTH)] * (1 + 1 + 2 + 3)


def test_rows_of_which_most_are_the_same_are_refused() -> None:
    rows = np.zeros((600, WIDTH), dtype=np.float32)
    rows[:100] = rows_and_groups(100)[0]
    weight = np.ones(WIDTH, dtype=np.float32)

    with pytest.raises(ConstantFeaturesError, match="give activations of different inputs"):
        fit_feature_map(
            rows, np.zeros(600, int), 1, np.arange(WIDTH), weight, 32, np.random.default_rng(0)
        )


def test_every_bandwidth_has_its_third_of_the_frequencies() -> None:
    feature_map, _ = fitted(random_features=600 // 2)
    lengths = np.linalg.norm(feature_map.frequencies, axis=0)

    # a chi variable over {2, 4, 8}: the mean inverse bandwidth tells the mixture
    scale = median_distance(
        (rows_and_groups(600)[0] / rows_and_groups(600)[0].std(axis=0)) * np.float32(WIDTH**-0.5),
        np.random.default_rng(0),
    )
    expected = chi(WIDTH).mean() * np.mean(1.0 / np.array(BANDWIDTHS)) / scale
    assert lengths.mean() == pytest.approx(expected, rel=0.06)


SCRIPT = """
import hashlib
import numpy as np
from latentwatch.detector.features import fit_feature_map, FeatureMap, residuals_of_rows
rng = np.random.default_rng(0)
width, rank, groups = 192, 1024, 10
feature_map = FeatureMap(
    columns=np.arange(width),
    mean=np.zeros(width, np.float32), scale=np.ones(width, np.float32),
    weight=np.full(width, width ** -0.5, np.float32),
    frequencies=rng.standard_normal((width, rank // 2)).astype(np.float32),
    whitening=rng.standard_normal((rank, rank)).astype(np.float32),
    centres=rng.standard_normal((groups, rank)).astype(np.float32),
    radius=200.0,
)
rows = rng.standard_normal((400, width)).astype(np.float32)
psi, squared_distance = residuals_of_rows(feature_map, rows, rng.integers(0, groups, 400))
print(hashlib.sha256(psi.tobytes() + squared_distance.tobytes()).hexdigest())
"""


def digest_with_threads(threads: int) -> str:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.skipif(
    "avx512f" not in Path("/proc/cpuinfo").read_text(),
    reason="OpenBLAS's kernels for AVX2 cut this product by threads; a worker has one thread",
)
def test_features_have_the_same_bits_with_one_thread_and_with_two() -> None:
    digest = digest_with_threads(1)

    assert len(digest) == hashlib.sha256().digest_size * 2
    assert digest_with_threads(2) == digest
