"""t-SNE of activations (van der Maaten and Hinton 2008), after a principal component analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["embed", "sample"]

COMPONENTS = 50
"""Principal components that are kept: t-SNE's distances are cleaner without the rest."""

PERPLEXITY = 30.0
"""Neighbours that each point has, in effect."""


def sample(count: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most so many of `count` row numbers, drawn without replacement, in order."""
    return np.sort(rng.permutation(count)[:most]).astype(np.int64)


def embed(rows: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """Places [n, 2] of rows [n, d]; columns are standardised first. Needs at least five rows."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = np.asarray(rows, dtype=np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    reduced = PCA(min(COMPONENTS, *values.shape), svd_solver="full").fit_transform(values)
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    init = "pca" if reduced.shape[1] > 1 else "random"
    places: NDArray[np.float64] = TSNE(
        perplexity=perplexity, init=init, random_state=seed
    ).fit_transform(reduced)
    return places
