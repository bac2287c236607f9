"""Drift within a trusted period: a permutation test over time slices.

The period is cut into slices of equally many rows. With z a row's whitened residual within its
predicted class, the statistic is ``sum over slices of n_s |mean of z in s|^2``. It responds only to
changes of the activations, because a change of the class mix leaves the residuals as they are. The
null distribution permutes the slices among the rows of each class, so every class keeps its number
of rows in every slice. The test is exact for any distribution if the rows of a class are
exchangeable in time; rows that resemble their neighbours (the frames of one camera) are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import Float64, Int64
from latentwatch.detector.screening.within_class import WithinClass

SLICES = 10
PERMUTATIONS = 999
SLICE_ROWS = 30
"""Fewest rows of a slice; a shorter period has fewer slices."""

MOST_ROWS = 20_000
"""Most rows to test; of more rows a random part is used."""

LAYER_DIRECTIONS = 64
"""Leading residual directions of each layer: drift moves many columns together."""

BATCH = 16
"""Permutations computed in one product."""


@dataclass(frozen=True, eq=False)
class Drift:
    """Result of the test.

    Parameters
    ----------
    p_value : float
        At least 0.001.
    rows : int64 [n]
        Rows of the slice that differs most from the rest.
    span_ns : (int, int)
        Event times of the first and last row of that slice.
    shift : float
        Distance of its mean from that of the period beyond chance: root mean square over the
        directions, in standard deviations.
    """

    p_value: float
    rows: Int64
    span_ns: tuple[int, int]
    shift: float


def find_drift(
    layers: list[WithinClass], event_time_ns: Int64, rng: np.random.Generator
) -> Drift | None:
    """Test for drift; None if the period has too few rows for two slices.

    Parameters
    ----------
    layers : list of WithinClass
        Residuals of the same rows in each layer.
    event_time_ns : int64 [N]
        Nanoseconds since 1970, UTC.
    """
    order = np.argsort(event_time_ns, kind="stable").astype(np.int64)
    if len(order) > MOST_ROWS:
        order = order[np.sort(rng.permutation(len(order))[:MOST_ROWS])]
    slices = min(SLICES, len(order) // SLICE_ROWS)
    if slices < 2 or event_time_ns[order[0]] == event_time_ns[order[-1]]:
        return None
    groups = layers[0].groups[order]
    values = np.hstack([_leading(layer, order) for layer in layers])
    slice_of = (np.arange(len(order)) * slices // len(order)).astype(np.int64)
    parts = _by_slice(values, slice_of[None], slices)[0]
    rank = 1 + sum(
        int((_by_slice(values, labels, slices).sum(axis=1) >= parts.sum()).sum())
        for labels in _permuted(slice_of, groups, rng)
    )
    largest = order[slice_of == int(np.argmax(parts))]
    # each layer adds about one to a part by chance alone
    beyond = max(0.0, float(parts.max()) - len(layers)) / len(layers)
    return Drift(
        rank / (PERMUTATIONS + 1),
        np.sort(largest),
        (int(event_time_ns[largest].min()), int(event_time_ns[largest].max())),
        float(np.sqrt(beyond / len(largest))),
    )


def _leading(layer: WithinClass, order: Int64) -> Float64:
    """Residuals [n, k] from the class means, weighted so that every layer counts alike."""
    values = layer.residuals[order, -LAYER_DIRECTIONS:]
    groups = layer.groups[order]
    counts = np.maximum(np.bincount(groups, minlength=len(layer.centres)), 1)
    sums = np.zeros((len(layer.centres), values.shape[1]))
    np.add.at(sums, groups, values)
    centred = values - (sums / counts[:, None])[groups]
    scaled: Float64 = centred / np.sqrt(max(float(np.mean(centred**2)), 1e-30) * centred.shape[1])
    return scaled


def _by_slice(values: Float64, labels: NDArray[np.integer], slices: int) -> Float64:
    """``n_s |mean in slice s|^2`` [permutations, slices] of labels [permutations, n]."""
    which = (labels[:, None, :] == np.arange(slices)[:, None]).astype(np.float32)
    sums = which.reshape(-1, labels.shape[1]) @ values.astype(np.float32)
    counts = which.sum(axis=2)
    squares = np.einsum("ij,ij->i", sums, sums, dtype=np.float64).reshape(len(labels), slices)
    found: Float64 = squares / np.maximum(counts, 1.0)
    return found


def _permuted(slice_of: Int64, groups: Int64, rng: np.random.Generator) -> list[NDArray[np.int8]]:
    """Batches [<= BATCH, n] of slices permuted among the rows of each class."""
    in_order = np.argsort(groups, kind="stable")
    labels = np.empty((PERMUTATIONS, len(groups)), dtype=np.int8)
    for permutation in labels:
        shuffled = np.lexsort((rng.random(len(groups)), groups))
        permutation[in_order] = slice_of[shuffled]
    return [labels[start : start + BATCH] for start in range(0, PERMUTATIONS, BATCH)]
