"""Raw rows: layers and columns, checks, exact repeats, and how many rows a baseline needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentwatch.detector.errors import (
    ConstantFeaturesError,
    DimensionError,
    NotFiniteError,
    TooFewRowsError,
    UnseenClassError,
)
from latentwatch.detector.features import BLOCK_ROWS, Float32, Int64

UInt64 = NDArray[np.uint64]

CLASS_ROWS = 20
"""Fewest baseline rows from which the mean of a class can be estimated."""

HALF_EXPONENT = 0x7C00
"""Exponent bits of a half-precision number; all are set only in infinity and NaN."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The layers of a baseline, side by side.

    Parameters
    ----------
    names : tuple of str
        Layers in order of depth.
    widths : tuple of int
        Width of each.
    kept : int64 [columns]
        Columns that vary on the baseline; the others are ignored.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    kept: Int64

    @classmethod
    def learn(
        cls, activations: Mapping[str, ArrayLike], predicted: ArrayLike, drop_constant: bool
    ) -> tuple[Layout, Float32, Int64]:
        """Layout, rows float32 [N, columns] and classes int64 [N] of a baseline."""
        if not activations:
            raise DimensionError("no layer was given; capture at least one, preferably three")
        names = tuple(activations)
        shapes = [np.shape(activations[name]) for name in names]
        for name, shape in zip(names, shapes, strict=True):
            if len(shape) != 2 or 0 in shape:
                raise DimensionError(
                    f"layer {name!r} has shape {shape}; give one row of features per request: "
                    "[N, d]"
                )
        everything = np.arange(sum(shape[1] for shape in shapes), dtype=np.int64)
        layout = cls(names, tuple(int(shape[1]) for shape in shapes), everything)
        rows, classes = gather(layout, activations, predicted, None)
        varies = rows.std(axis=0) > 1e-6 * (np.abs(rows).max(axis=0) + 1e-30)
        if not varies.all() and not drop_constant:
            raise ConstantFeaturesError(layout.describe_constant(varies))
        layout = cls(layout.names, layout.widths, np.flatnonzero(varies).astype(np.int64))
        for name in names:
            if not len(layout.columns(name)):
                raise ConstantFeaturesError(
                    f"layer {name!r} never varies in the baseline; capture another layer"
                )
        return layout, rows, classes

    def describe_constant(self, varies: NDArray[np.bool_]) -> str:
        """Error text that lists the features that never vary."""
        found = []
        by_layer = np.split(varies, np.cumsum(self.widths)[:-1])
        for name, columns in zip(self.names, by_layer, strict=True):
            constant = np.flatnonzero(~columns)
            if len(constant):
                shown = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
                found.append(f"{name!r}: {len(constant)} of {len(columns)} ({shown})")
        return (
            f"features that never vary in the baseline: {'; '.join(found)}; leave them out with "
            "drop_constant=True (--drop-constant), or capture another layer"
        )

    def columns(self, name: str) -> Int64:
        """Kept columns of one layer."""
        start = sum(self.widths[: self.names.index(name)])
        end = start + self.widths[self.names.index(name)]
        return self.kept[(self.kept >= start) & (self.kept < end)]

    def all_columns(self) -> list[Int64]:
        """Kept columns of each layer, the earliest first."""
        return [self.columns(name) for name in self.names]


def gather(
    layout: Layout,
    activations: Mapping[str, ArrayLike],
    predicted: ArrayLike,
    classes: int | None,
) -> tuple[Float32, Int64]:
    """Check rows against the layout and put the layers side by side.

    Returns
    -------
    rows : float32 [n, sum of widths]
    predicted : int64 [n]
    """
    labels = np.asarray(predicted)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DimensionError(
            f"predicted has shape {labels.shape} and dtype {labels.dtype}; "
            "give one integer class per row"
        )
    rows = np.empty((len(labels), sum(layout.widths)), dtype=np.float32)
    start = 0
    for name, width in zip(layout.names, layout.widths, strict=True):
        if name not in activations:
            raise DimensionError(
                f"layer {name!r} is missing; the baseline needs {', '.join(layout.names)}"
            )
        block = np.asarray(activations[name])
        if block.dtype.kind not in "fiu":
            raise DimensionError(
                f"layer {name!r} has dtype {block.dtype}; give real numbers, float16 or float32"
            )
        if block.shape != (len(labels), width):
            raise DimensionError(
                f"layer {name!r} has shape {block.shape}; the baseline and the predictions "
                f"need {(len(labels), width)}"
            )
        place = rows[:, start : start + width]
        if block.dtype == np.float16:
            _widen(block, place)
        else:
            with np.errstate(over="ignore"):
                place[:] = block
        start += width
    _check_finite(layout, rows)
    _check_classes(labels, classes)
    return rows, labels.astype(np.int64)


def _widen(halves: NDArray[np.float16], place: Float32) -> None:
    """Write halves into float32, exactly; several times faster than a cast.

    Sign, exponent and fraction are moved to their places, and a multiplication corrects the
    exponent's bias, for subnormal halves as well. Infinity and NaN stay not finite.
    """
    packed = halves.view(np.int16)
    if len(halves) and (packed & HALF_EXPONENT).max() == HALF_EXPONENT:
        place[:] = halves
        return
    bits = place.view(np.int32)
    # the shift extends the sign, which also fills the bits up to the exponent
    np.left_shift(packed, 13, out=bits, dtype=np.int32, casting="unsafe")
    bits &= np.int32(~0x70000000)
    place *= np.float32(2.0**112)


def _check_finite(layout: Layout, rows: Float32) -> None:
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        layer = layout.names[int(np.searchsorted(np.cumsum(layout.widths), column, side="right"))]
        raise NotFiniteError(
            f"row {row} of layer {layer!r} is not finite; leave such requests out, and find out "
            "why the model returns NaN or infinity (half precision overflows at 65504)"
        )


def _check_classes(labels: NDArray[np.integer], classes: int | None) -> None:
    if not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UnseenClassError(f"predicted class {low} is negative; classes count from 0")
    if classes is not None and high >= classes:
        raise UnseenClassError(
            f"predicted class {high} is unknown: the baseline has classes 0 to {classes - 1}; "
            "fit a baseline for this version of the model"
        )


def class_groups(predicted: Int64, classes: int | None, *, pool: bool) -> Int64:
    """Group of each class [C]: its own, or a common one for classes with too few rows."""
    counts = np.bincount(predicted, minlength=classes or 0)
    if classes is not None and len(counts) > classes:
        raise UnseenClassError(
            f"predicted class {len(counts) - 1} is unknown: classes={classes} was given"
        )
    rare = np.flatnonzero(counts < CLASS_ROWS)
    if not len(rare):
        return np.arange(len(counts), dtype=np.int64)
    if not pool:
        listed = ", ".join(f"{c} ({counts[c]})" for c in rare[:8])
        raise TooFewRowsError(
            f"classes with fewer than {CLASS_ROWS} baseline rows: {listed}; collect more of them, "
            'or let them share one mean with rare_classes="pool" (--pool-rare-classes)'
        )
    if counts[rare].sum() < CLASS_ROWS and len(rare) < len(counts):
        # too few even together: the smallest ordinary class joins them
        ordinary = np.flatnonzero(counts >= CLASS_ROWS)
        rare = np.append(rare, ordinary[np.argmin(counts[ordinary])])
    group = np.zeros(len(counts), dtype=np.int64)
    own = np.setdiff1d(np.arange(len(counts)), rare)
    group[own] = np.arange(len(own))
    group[rare] = len(own)
    return group


def feature_count(rows: int, longest_window: int, wanted: int | None) -> int:
    """Fourier features of the deciding view, after checking that the rows suffice."""
    if longest_window < BLOCK_ROWS or longest_window & (longest_window - 1):
        raise TooFewRowsError(
            f"longest_window must be a power of two of at least {BLOCK_ROWS}, not {longest_window}"
        )
    if rows < 2 * longest_window:
        raise TooFewRowsError(
            f"{rows} baseline rows are too few for windows of {longest_window}: collect at least "
            f"{2 * longest_window}, or choose a shorter longest_window (--longest-window)"
        )
    if wanted is None:
        return min(1024, 1 << (rows // 3).bit_length() - 1)
    if wanted % 2 or not 2 <= wanted <= rows // 2:
        raise TooFewRowsError(
            f"random_features must be even and at most half of the {rows} baseline rows, "
            f"not {wanted}"
        )
    return wanted


def row_digests(rows: Float32, predicted: Int64) -> UInt64:
    """Digest uint64 [n] of each raw row [n, d] and its class: a multilinear hash of its bits.

    Two different rows share a digest with a probability of about 2^-32 (Lemire and Kaser 2014), so
    about one request in a billion is mistaken for a repeat.
    """
    keys = _keys(rows.shape[1] + 1)
    bits = np.ascontiguousarray(rows).view(np.uint32)
    digests: UInt64 = bits @ keys[1:] + predicted.astype(np.uint64) * keys[0]
    return digests


@lru_cache(maxsize=64)
def _keys(count: int) -> UInt64:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**63, count, dtype=np.uint64)


def repeated(digests: UInt64, within: int) -> NDArray[np.bool_]:
    """Whether each digest [n] occurs among the `within` digests before it."""
    order = np.argsort(digests, kind="stable")
    places = order.astype(np.int64)
    same = digests[order[1:]] == digests[order[:-1]]
    found = np.zeros(len(digests), dtype=np.bool_)
    found[places[1:][same & (np.diff(places) <= within)]] = True
    return found
