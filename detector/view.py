"""A view: one feature map with its null model, over one layer or the agreement of all layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentwatch.detector.features import FeatureMap, Float32, Int64, fit_feature_map
from latentwatch.detector.leave_out import LeftOut, leave_out
from latentwatch.detector.null import NullModel
from latentwatch.detector.rows import Layout

AGREEMENT = "agreement"
"""Name of the view that compares all layers with the predicted class."""

RADIUS_QUANTILE = 0.995
"""Share of the baseline rows whose residuals keep their full length (docs/detection.md)."""

DECIDING_VIEWS = 2
"""The deepest layer is the most sensitive to small shares of ordinary attacks. The agreement of the
layers catches targeted attacks and attacks that imitate the deepest layer (docs/detection.md)."""

EXPLAINING_FEATURES = 256
"""Fourier features of the views that only explain, which need less power than the deciding ones."""

AGREEMENT_FEATURES = 128
"""Fourier features of the agreement view. It has four columns per layer; more features add nothing.
"""


@dataclass(frozen=True, eq=False)
class View:
    """One feature map with its null model; `slice` is its place in a sketch's sums."""

    name: str
    map: FeatureMap
    null: NullModel
    slice: slice


def fit_views(
    layout: Layout, features: int, rows: Float32, groups: Int64, rng: np.random.Generator
) -> tuple[tuple[View, ...], list[LeftOut]]:
    """Fit all views, the deciding ones first; also return the left-out rows of the deciding ones.

    Parameters
    ----------
    layout : Layout
    features : int
        Fourier features of the first view.
    rows : float32 [N, all columns + agreement columns]
        Raw rows, followed by the columns of the agreement.
    groups : int64 [N]
    """
    views: list[View] = []
    deciding: list[LeftOut] = []
    start = 0
    for name, columns, count in _plan(layout, rows.shape[1], features):
        weight = np.full(len(columns), len(columns) ** -0.5, dtype=np.float32)
        free, in_sample = fit_feature_map(
            rows, groups, int(groups.max()) + 1, columns, weight, count, rng
        )
        left_out = leave_out(in_sample, groups, RADIUS_QUANTILE)
        if len(deciding) < DECIDING_VIEWS:
            deciding.append(left_out)
        bounded = free.with_radius(left_out.radius)
        views.append(
            View(name, bounded, NullModel.fit(left_out), slice(start, start + bounded.rank))
        )
        start += bounded.rank
    return tuple(views), deciding


def _plan(layout: Layout, width: int, features: int) -> list[tuple[str, Int64, int]]:
    """Name, columns and number of Fourier features of each view, the deciding ones first."""
    *others, deepest = layout.names
    agreeing = np.arange(sum(layout.widths), width, dtype=np.int64)
    return [
        (deepest, layout.columns(deepest), features),
        (AGREEMENT, agreeing, min(AGREEMENT_FEATURES, features)),
        *((name, layout.columns(name), min(EXPLAINING_FEATURES, features)) for name in others),
    ]
