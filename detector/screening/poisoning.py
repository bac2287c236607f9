"""Poisoned rows in a baseline: labels that contradict the activations, and separate clusters.

A backdoor splits its class into two populations, which leaves a *spectral signature* (Tran, Li and
Madry 2018; Chen et al. 2019 use clustering for the same reason). Those methods assume a known share
of poison; here the first question is whether there is any. In each class, rows are projected on a
direction, and the projections are tested for a second mode (see `unimodality`). Directions are
found on four fifths of the rows and applied to the other fifth, so the choice cannot create a mode.

Two directions are tried. The one of largest variance, as in Tran et al., finds large shares. The
one of largest skewness finds small shares: a cluster with a share p of the rows has a skewness of
about p^(-1/2) along its direction.

References
----------
B. Tran, J. Li and A. Madry (2018), Spectral signatures in backdoor attacks, NeurIPS.
B. Chen et al. (2019), Detecting backdoor attacks on deep neural networks by activation
clustering, SafeAI.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from latentwatch.detector.features import Float64, Int64
from latentwatch.detector.screening.unimodality import UniformNull, minor_mode
from latentwatch.detector.screening.within_class import WithinClass

LEAST_ROWS = 40
"""Fewest rows of a class to test."""

FOLDS = 5

SUBSPACE = 10
"""Leading directions of a class to search for skewness; in more, even noise is skewed."""

STARTS = 10
"""Farthest rows, from which the search for a skewed direction starts."""

STEPS = 30

OUTLIER = 6.0
"""Standard deviations at which a projection is clipped, so that no single outlier dominates."""

LEAST_CONTRADICTING = 3
"""Fewest rows with contradicting labels to report a class."""


@dataclass(frozen=True, eq=False)
class Suspicion:
    """A class with rows that may be poisoned.

    Parameters
    ----------
    how : str
        "labels" if the activations belong to another class, "cluster" if they form a second mode.
    group : int
    rows : int64 [n]
        Indices of the rows.
    p_value : float
        Corrected for the number of tests (Bonferroni).
    """

    how: str
    group: int
    rows: Int64
    p_value: float


def find_poison(layer: WithinClass, level: float, rng: np.random.Generator) -> list[Suspicion]:
    """Classes whose corrected p-value is at most `level`; use the deepest layer."""
    counts = np.bincount(layer.groups)
    groups = np.flatnonzero(counts >= LEAST_ROWS).tolist()
    if not groups:
        return []
    null = UniformNull.simulate(counts[groups].tolist(), rng)
    found = [*_contradicted(layer, groups), *_clusters(layer, groups, null, rng)]
    looks = 3 * len(groups)
    corrected = [Suspicion(s.how, s.group, s.rows, min(1.0, looks * s.p_value)) for s in found]
    return sorted((s for s in corrected if s.p_value <= level), key=lambda s: s.p_value)


def _contradicted(layer: WithinClass, groups: list[int]) -> list[Suspicion]:
    """Rows that belong to another class as clearly as the median row belongs to its own.

    The other classes show how many such rows a clean class has: the null is the beta-binomial
    distribution of a count given theirs.
    """
    # imported here because it takes a third of a second, which workers need not wait for
    from scipy.stats import betabinom

    rows = {group: _contradicting(layer, group) for group in groups}
    sizes = {group: len(layer.rows_of(group)) for group in groups}
    total, everything = sum(map(len, rows.values())), sum(sizes.values())
    found = []
    for group, own in rows.items():
        if len(own) < LEAST_CONTRADICTING:
            continue
        others, other_rows = total - len(own), everything - sizes[group]
        p = betabinom.sf(len(own) - 1, sizes[group], others + 1, other_rows - others + 1)
        found.append(Suspicion("labels", group, own, float(p)))
    return found


def _contradicting(layer: WithinClass, group: int) -> Int64:
    if len(layer.centres) == 1:
        return np.empty(0, dtype=np.int64)
    margins = layer.margins(group)
    usual = float(np.median(margins))
    if usual <= 0.0:
        # the layer does not separate this class from the others: labels cannot contradict it
        return np.empty(0, dtype=np.int64)
    return layer.rows_of(group)[margins < -usual]


def _clusters(
    layer: WithinClass, groups: list[int], null: UniformNull, rng: np.random.Generator
) -> list[Suspicion]:
    found = []
    for group in groups:
        rows = layer.rows_of(group)
        both = projections(layer.residuals[rows], rng).T
        p_values = [null.p_value(projected) for projected in both]
        best = int(np.argmin(p_values))
        found.append(Suspicion("cluster", group, rows[minor_mode(both[best])], p_values[best]))
    return found


def projections(rows: Float64, rng: np.random.Generator) -> Float64:
    """Projections [n, 2] of the rows [n, k] of a class on directions found without them."""
    fold = rng.permutation(len(rows)) % FOLDS
    found, kept = np.empty((len(rows), 2)), None
    for number in range(FOLDS):
        others = rows[fold != number]
        centre = others.mean(axis=0)
        directions = _directions(others - centre)
        kept = directions if kept is None else kept
        # a direction has no sign of its own
        directions *= np.sign(np.sum(directions * kept, axis=0) + 1e-300)
        found[fold == number] = (rows[fold == number] - centre) @ directions
    return found


def _directions(centred: Float64) -> Float64:
    """Unit vectors [k, 2] of the largest variance and the largest skewness."""
    width = centred.shape[1]
    dimensions = min(SUBSPACE, width)
    variances, basis = eigh(
        centred.T @ centred / len(centred), subset_by_index=[width - dimensions, width - 1]
    )
    scale = np.sqrt(np.maximum(variances, 1e-12))
    skewed = basis @ (_most_skewed(centred @ basis / scale) / scale)
    return np.stack([basis[:, -1], skewed / np.linalg.norm(skewed)], axis=1)


def _most_skewed(sphered: Float64) -> Float64:
    """Direction [k] of largest skewness, by the fixed point of FastICA (Hyvärinen 1999).

    The gradient of ``E (w'x)^3`` is ``3 E (w'x)^2 x``. Several searches start at the farthest rows,
    where a small cluster would be.
    """
    lengths = np.einsum("ij,ij->i", sphered, sphered)
    directions = sphered[np.argsort(-lengths)[:STARTS]].T
    for _ in range(STEPS):
        directions = directions / np.maximum(np.linalg.norm(directions, axis=0), 1e-300)
        projected = np.clip(sphered @ directions, -OUTLIER, OUTLIER)
        directions = sphered.T @ projected**2 / len(sphered)
    directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-300)
    skewness = np.mean(np.clip(sphered @ directions, -OUTLIER, OUTLIER) ** 3, axis=0)
    best: Float64 = directions[:, int(np.argmax(skewness))]
    return best
