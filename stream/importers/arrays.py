"""Tensors of other systems as rows of a layer, and as predicted classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.importers.events import Float32, NotImportedError

__all__ = ["classes_of", "common_rows", "numbers", "pooled"]


def numbers(value: object, what: str) -> NDArray[Any]:
    """Array of a nested list of numbers; null becomes NaN.

    Raises
    ------
    NotImportedError
        Rows of unequal length, or text.
    """
    try:
        return np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise NotImportedError(
            "no numbers", f"{what} is not an array of numbers with rows of equal length"
        ) from None


def pooled(values: NDArray[Any], what: str, *, channels_last: bool = False) -> Float32:
    """Rows float32 [n, d] of a tensor [n], [n, d], or [n, d, ...].

    More than two axes are averaged: those after the second, or with `channels_last` those before
    the last one. The mean is taken in double precision, the result rounded once.

    Raises
    ------
    NotImportedError
        Not real numbers, or no axes at all.
    """
    if values.dtype.kind not in "fiu" or not values.ndim:
        raise NotImportedError(
            "no numbers",
            f"{what} has dtype {values.dtype} and shape {values.shape}: give real numbers "
            "with a row for each request",
        )
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim > 2:
        axes = range(1, values.ndim - 1) if channels_last else range(2, values.ndim)
        values = values.mean(axis=tuple(axes), dtype=np.float64)
    # what overflows becomes infinite, and such rows are left out
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def common_rows(layers: dict[str, Float32]) -> int:
    """Number of requests in all layers [n, d].

    Raises
    ------
    NotImportedError
        The layers disagree, or one is empty.
    """
    shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in layers.items())
    counts = {len(values) for values in layers.values()}
    if len(counts) > 1:
        raise NotImportedError(
            "unequal rows", f"{shapes}: take only what has a row for each request"
        )
    if not all(values.size for values in layers.values()):
        raise NotImportedError("no rows", f"no values: {shapes}")
    return counts.pop()


def classes_of(values: NDArray[Any], rows: int, what: str) -> NDArray[np.int64]:
    """Predicted classes int64 [rows].

    Parameters
    ----------
    values : array
        Classes [rows] or [rows, 1], or scores (logits, probabilities) [rows, classes], of which
        the highest counts.

    Raises
    ------
    NotImportedError
        Neither of the two.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "fiu" or values.shape[:1] != (rows,):
        raise NotImportedError(
            "no class", f"{what} has shape {values.shape}, and {rows} requests have a layer"
        )
    if np.isnan(values).any():
        raise NotImportedError("no class", f"{what} holds NaN or null")
    if values.ndim == 2:
        return values.argmax(axis=1).astype(np.int64)
    if values.ndim != 1 or (values != np.floor(values)).any() or np.abs(values).max() >= 2**31:
        raise NotImportedError(
            "no class",
            f"{what} of shape {values.shape} holds no whole numbers: name the classes, or the "
            "scores of all classes",
        )
    return values.astype(np.int64)
