"""Labelled sets of activations for evaluation, and the baseline fitted on one of them.

The input is arrays ``<set>.<layer>`` [n, d] and ``<set>.predicted`` [n].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.errors import ActivationsError
from latentwatch.detector.features import Int64

Labelled = tuple[dict[str, NDArray[Any]], NDArray[Any]]
"""Activations [n, d] by layer, and predicted classes [n]."""


def is_drift(name: str) -> bool:
    """Whether a set is ordinary drift, by its name; all others are attacks."""
    return name.startswith("drift")


def split_sets(
    arrays: Mapping[str, NDArray[Any]], layers: Sequence[str] | None
) -> dict[str, Labelled]:
    """Group flat arrays by set: activations by layer, and predictions."""
    names = list(dict.fromkeys(key.split(".", 1)[0] for key in arrays))
    found = [k.split(".", 1)[1] for k in arrays if k.startswith("baseline.")]
    available = [name for name in found if name != "predicted"]
    for needed in ("baseline", "clean"):
        if needed not in names:
            raise ActivationsError(
                f"the set {needed!r} is missing; name arrays {needed}.<layer> and "
                f"{needed}.predicted (found sets: {', '.join(names) or 'none'})"
            )
    chosen = list(layers) if layers else available
    for layer in chosen:
        if layer not in available:
            raise ActivationsError(
                f"layer {layer!r} is missing; the file has {', '.join(available) or 'none'}"
            )
    try:
        return {
            name: (
                {layer: arrays[f"{name}.{layer}"] for layer in chosen},
                arrays[f"{name}.predicted"],
            )
            for name in names
        }
    except KeyError as error:
        raise ActivationsError(
            f"the array {error.args[0]!r} is missing; every set needs every layer and 'predicted'"
        ) from error


SIMULATED_REQUESTS = 1_600_000
"""Length of the simulated clean streams, as `Baseline.fit` has it."""


def fit_baseline(
    rows: tuple[Mapping[str, ArrayLike], ArrayLike],
    seed: int,
    classes: int | None = None,
    simulated_requests: int = SIMULATED_REQUESTS,
) -> Baseline:
    """Fit as all measurements do: unusable features are dropped, not refused.

    Parameters
    ----------
    rows
        Activations [N, d] by layer, and predicted classes [N].
    classes : int, optional
        Number of classes of the model; by default the largest prediction plus one.
    simulated_requests : int
        See `Baseline.fit`.
    """
    return Baseline.fit(
        *rows,
        model="evaluated",
        version="1",
        seed=seed,
        classes=classes,
        rare_classes="pool",
        drop_constant=True,
        simulated_requests=simulated_requests,
    )


def together(first: Labelled, second: Labelled) -> Labelled:
    """Concatenate the rows of two sets with the same layers."""
    activations = {
        layer: np.concatenate([values, second[0][layer]]) for layer, values in first[0].items()
    }
    return activations, np.concatenate([first[1], second[1]])


def taken(rows: Labelled, places: Int64) -> Labelled:
    """Rows of a set by index."""
    return {layer: values[places] for layer, values in rows[0].items()}, rows[1][places]
