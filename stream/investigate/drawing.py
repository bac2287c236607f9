"""Pictures of an alert: its statistics over time, and a map of its requests."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import BLOCK_ROWS
from latentwatch.stream.investigate.suspicion import Suspicion
from latentwatch.stream.investigate.window import Judged

mpl.use("Agg")

from matplotlib import pyplot as plt

__all__ = [
    "BLUE",
    "GREY",
    "RED",
    "SHADE",
    "SHOWN",
    "draw_map",
    "draw_timeline",
    "embed",
    "png",
    "sample",
]

GREY, BLUE, RED, SHADE = "#8a93a0", "#3b6ea5", "#b3261e", "#e08a1e"

SHOWN = 300
"""Requests of the baseline, or from before the window, on the map."""

COMPONENTS = 50
"""Principal components that t-SNE gets; its distances are cleaner without the rest."""

PERPLEXITY = 30.0
"""Effective number of neighbours of each point in t-SNE."""


def draw_timeline(judged: Judged) -> bytes:
    """PNG of the score with its threshold, T and E, by block."""
    view = judged.baseline.deciding[judged.view].name
    ends, values = _series(judged, view)
    figure = plt.figure(figsize=(9, 6), dpi=120, layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1, 1))
    names = ("score", f"T of {view}", f"E of {view}")
    for axes, name, row in zip(panels, names, values, strict=True):
        axes.axvspan(0, judged.alert.requests, color=SHADE, alpha=0.18, linewidth=0)
        axes.plot(ends, row, color=BLUE, marker="o", markersize=3, linewidth=1.2)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.12)
    _mark_threshold(panels[0], judged.alert.threshold, ends, values[0])
    panels[0].set_title("The highest window after each 32 requests; shaded: the alert's window")
    panels[-1].set_xlabel("requests since the window began")
    return png(figure)


def _series(judged: Judged, view: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ends of the blocks int64 [k], and their score, T and E float64 [3, k]."""
    blocks = judged.baseline.longest_window // BLOCK_ROWS
    # without the requests before them, the first windows are shorter than the worker's
    first = blocks if judged.start >= 2 * judged.baseline.longest_window else 0
    ends, values = [], []
    for number, decision in enumerate(judged.decisions[first:], first):
        if decision.views:
            statistics = decision.views[view]
            ends.append((number + 1) * BLOCK_ROWS - judged.start)
            values.append((decision.score, statistics.T, statistics.E))
    return np.array(ends), np.array(values).T


def _mark_threshold(
    axes: Any, threshold: float, ends: NDArray[np.int64], scores: NDArray[np.float64]
) -> None:
    axes.axhline(threshold, color=RED, linestyle="--", linewidth=1)
    # scores of strong attacks are a hundred times the threshold
    axes.set_yscale("symlog", linthresh=2.0 * threshold)
    axes.set_ylim(bottom=0.0)
    axes.annotate(
        f"threshold {threshold:.2f}",
        (1.0, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize=9,
        color=RED,
    )
    over = scores >= threshold
    axes.plot(ends[over], scores[over], color=RED, marker="o", markersize=4, linestyle="none")


def draw_map(
    judged: Judged,
    suspicion: Suspicion,
    baseline_rows: NDArray[np.float32] | None,
    seed: int,
) -> bytes | None:
    """PNG of a t-SNE of the deepest layer; None if there are too few requests to compare with.

    Parameters
    ----------
    judged : Judged
    suspicion : Suspicion
    baseline_rows : float32 [n, all columns] or None
        Validation rows; by default, requests from before the window that were not suspicious.
    seed : int
    """
    label = "baseline"
    if baseline_rows is None:
        typical = judged.features.p_values[judged.before, 0] > suspicion.level
        baseline_rows = judged.rows.rows[judged.before][typical]
        label = "requests before, not suspicious"
    if len(baseline_rows) < BLOCK_ROWS:
        return None
    chosen = sample(len(baseline_rows), SHOWN, np.random.default_rng(seed))
    columns = judged.baseline.layout.columns(judged.baseline.layer_names[-1])
    rows = np.concatenate([baseline_rows[chosen], judged.rows.rows[judged.window]])
    places = embed(rows[:, columns], seed)
    return _scatter(places[: len(chosen)], places[len(chosen) :], suspicion, label)


def _scatter(
    baseline: NDArray[np.float64],
    window: NDArray[np.float64],
    suspicion: Suspicion,
    label: str,
) -> bytes:
    figure = plt.figure(figsize=(9, 6.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    rows = [request.row for request in suspicion.suspicious]
    others = np.setdiff1d(np.arange(len(window)), rows)
    for places, colour, size, name in (
        (baseline, GREY, 30, label),
        (window[others], BLUE, 12, "in the window"),
        (window[rows], RED, 26, "in the window, suspicious"),
    ):
        legend = f"{name} ({len(places)})"
        axes.scatter(
            places[:, 0], places[:, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=legend
        )
    axes.set_xticks([])
    axes.set_yticks([])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, markerscale=1.5)
    axes.set_title("Requests that lie close together have similar activations (t-SNE)")
    return png(figure)


def png(figure: Any) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def sample(count: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `most` of `count` row numbers, drawn without replacement, in order."""
    return np.sort(rng.permutation(count)[:most]).astype(np.int64)


def embed(rows: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """t-SNE positions [n, 2] of rows [n, d]; at least five (van der Maaten and Hinton 2008).

    Columns are standardised, and reduced by a principal component analysis.
    """
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
