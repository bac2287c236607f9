"""Leaving rows out by formula against leaving them out by refitting."""

import numpy as np
import pytest

from latentwatch.detector.features import Float64, group_means, whitening_matrix
from latentwatch.detector.leave_out import LeftOut, leave_out

ROWS, GROUPS, WIDTH = 240, 3, 24
GROUP = np.random.default_rng(9).permutation(np.repeat(np.arange(GROUPS), (25, 75, 140)))


@pytest.fixture(scope="module")
def phi() -> Float64:
    """Features of three classes, standing in for Fourier features."""
    rng = np.random.default_rng(0)
    spread = np.linspace(0.3, 2.0, WIDTH)
    return rng.standard_normal((ROWS, WIDTH)) * spread + GROUP[:, None]


def refitted(phi: Float64, without: list[int]) -> Float64:
    """Residuals of the rows under a map that was fitted without them."""
    keep = np.setdiff1d(np.arange(ROWS), without)
    means = group_means(phi[keep], GROUP[keep], GROUPS)
    whitening = whitening_matrix(phi[keep] - means[GROUP[keep]], len(keep) - GROUPS)
    return (phi[without] - means[GROUP[without]]) @ whitening


@pytest.fixture(scope="module")
def in_sample(phi: Float64) -> np.ndarray:
    return refitted_on_all(phi).astype(np.float32)


def refitted_on_all(phi: Float64) -> Float64:
    means = group_means(phi, GROUP, GROUPS)
    return (phi - means[GROUP]) @ whitening_matrix(phi - means[GROUP], ROWS - GROUPS)


@pytest.fixture(scope="module")
def left_out(in_sample: np.ndarray) -> LeftOut:
    return leave_out(in_sample, GROUP, radius_quantile=1.0)


def test_energies_are_those_of_a_map_fitted_without_the_row(
    phi: Float64, in_sample: np.ndarray, left_out: LeftOut
) -> None:
    refit = np.array([float((refitted(phi, [i]) ** 2).sum()) for i in range(ROWS)])

    assert left_out.squared_distance == pytest.approx(refit, rel=1e-5)
    assert left_out.lengths == pytest.approx(refit, rel=1e-5)
    # what the correction is for: in-sample squared distances are a tenth too small
    assert ((in_sample**2).sum(axis=1) / refit).mean() < 0.9


def products(phi: Float64, left_out: LeftOut, first: int, second: int) -> tuple[Float64, Float64]:
    """Inner products of pairs of two classes after a refit without the pair, and by formula."""
    rng = np.random.default_rng(1)
    of_first, of_second = np.flatnonzero(first == GROUP), np.flatnonzero(second == GROUP)
    pairs = [(rng.choice(of_first), rng.choice(of_second)) for _ in range(300)]
    chosen = [(i, j) for i, j in pairs if i != j]
    refit = [refitted(phi, [i, j]) for i, j in chosen]
    return (
        np.array([float(pair[0] @ pair[1]) for pair in refit]),
        np.array([float(left_out.psi[i] @ left_out.psi[j]) for i, j in chosen]),
    )


def root_mean_square(values: Float64) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2)])
def test_products_across_classes_are_those_of_a_map_fitted_without_the_pair(
    phi: Float64, left_out: LeftOut, first: int, second: int
) -> None:
    refit, formula = products(phi, left_out, first, second)

    assert root_mean_square(formula - refit) < 0.02 * root_mean_square(refit)
    assert np.sum(formula * refit) / np.sum(refit**2) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("group", range(GROUPS))
def test_products_within_a_class_are_too_but_for_the_error_of_the_class_mean(
    phi: Float64, left_out: LeftOut, group: int
) -> None:
    """Both residuals of such a pair are off by the same class mean, which centring takes out."""
    refit, formula = products(phi, left_out, group, group)
    rows = np.sum(group == GROUP)

    shift = float(np.mean(refit - formula))

    # once for the error of the mean itself, once for what centring makes of independent vectors
    assert 1.5 * WIDTH / rows < shift < 3.0 * WIDTH / rows
    assert root_mean_square(formula + shift - refit) < 3.0 / rows * root_mean_square(refit)


def test_left_out_residuals_have_mean_zero_in_every_class(left_out: LeftOut) -> None:
    assert group_means(left_out.psi, GROUP, GROUPS) == pytest.approx(0.0, abs=1e-5)


def test_the_radius_keeps_the_wanted_share_at_full_length(in_sample: np.ndarray) -> None:
    free = leave_out(in_sample, GROUP, radius_quantile=1.0)
    bounded = leave_out(in_sample, GROUP, radius_quantile=0.9)

    long = bounded.squared_distance > bounded.radius**2
    assert long.mean() == pytest.approx(0.1, abs=1 / ROWS)
    assert (bounded.squared_distance == free.squared_distance).all()
    assert bounded.lengths[long] == pytest.approx(bounded.radius**2)
    assert (bounded.lengths[~long] == free.lengths[~long]).all()
    # as a fresh residual would be shortened, up to the class mean that is taken off at the end
    ratio = np.linalg.norm(bounded.psi, axis=1) / np.linalg.norm(free.psi, axis=1)
    assert ratio[long] == pytest.approx(
        (bounded.radius / np.sqrt(free.squared_distance[long])).astype(float), abs=0.02
    )
    assert ratio[~long] == pytest.approx(1.0, abs=0.02)


def test_left_out_energies_are_those_of_fresh_rows_and_in_sample_ones_are_not() -> None:
    rng = np.random.default_rng(2)
    width, rows = 128, 400
    phi = rng.standard_normal((rows, width))
    fresh = rng.standard_normal((4000, width))
    groups = np.arange(rows) % GROUPS
    means = group_means(phi, groups, GROUPS)
    whitening = whitening_matrix(phi - means[groups], rows - GROUPS)
    residuals = ((phi - means[groups]) @ whitening).astype(np.float32)

    fresh_energy = np.mean(
        [(((fresh - mean) @ whitening) ** 2).sum(axis=1).mean() for mean in means]
    )
    corrected = leave_out(residuals, groups, radius_quantile=1.0).squared_distance.mean()
    naive = (residuals**2).sum(axis=1).mean()

    assert corrected == pytest.approx(fresh_energy, rel=0.02)
    assert naive < 0.7 * fresh_energy
