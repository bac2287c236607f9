"""Pictures of a client's queries: how the evidence grew, and where the queries lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.features import BLOCK_ROWS
from latentwatch.stream.investigate.client import JudgedClient
from latentwatch.stream.investigate.drawing import (
    BLUE,
    GREY,
    RED,
    SHADE,
    SHOWN,
    embed,
    plt,
    png,
    sample,
)

__all__ = ["draw_evidence", "draw_queries"]


def draw_evidence(judged: JudgedClient) -> bytes:
    """PNG of the evidence with its threshold, and of how close each query is to earlier ones."""
    numbers = np.arange(len(judged.rows)) - judged.start + 1
    figure = plt.figure(figsize=(9, 5), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
    for axes in (above, below):
        axes.axvspan(1, numbers[-1], color=SHADE, alpha=0.18, linewidth=0)
        axes.set_yscale("log")
        axes.spines[["top", "right"]].set_visible(False)
    above.plot(numbers, np.maximum(judged.trace.evidence, 0.1), color=BLUE, linewidth=1.4)
    above.axhline(judged.alert.threshold, color=RED, linestyle="--", linewidth=1)
    above.set_ylabel("evidence")
    above.set_title("The evidence after each query of the client; shaded: queries that count")
    below.plot(
        numbers, judged.trace.p_values, color=BLUE, marker="o", markersize=3, linestyle="none"
    )
    below.set_ylabel("p-value (nearness)")
    below.set_xlabel("queries of the client")
    return png(figure)


def draw_queries(
    judged: JudgedClient, baseline_rows: NDArray[np.float32] | None, seed: int
) -> bytes | None:
    """PNG of a t-SNE of the deepest layer; None if there are too few requests of others.

    Parameters
    ----------
    judged : JudgedClient
    baseline_rows : float32 [n, all columns] or None
        Rows of validation data to compare with; else requests of others.
    seed : int
    """
    others = judged.others.rows if baseline_rows is None else baseline_rows
    label = "requests of others" if baseline_rows is None else "baseline"
    if len(others) < BLOCK_ROWS:
        return None
    rng = np.random.default_rng(seed)
    chosen = sample(len(others), SHOWN, rng)
    own = judged.judged[sample(len(judged.judged), SHOWN, rng)]
    columns = judged.baseline.layout.columns(judged.baseline.layer_names[-1])
    places = embed(np.concatenate([others[chosen], judged.rows.rows[own]])[:, columns], seed)
    figure = plt.figure(figsize=(9, 6.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    theirs, own_places = places[: len(chosen)], places[len(chosen) :]
    axes.scatter(
        theirs[:, 0], theirs[:, 1], s=30, color=GREY, alpha=0.75, linewidths=0, label=label
    )
    drawn = axes.scatter(
        own_places[:, 0],
        own_places[:, 1],
        s=22,
        c=own - judged.start + 1,
        cmap="plasma",
        linewidths=0,
        label="queries of the client",
    )
    figure.colorbar(drawn, ax=axes, label="number of the query", shrink=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.legend(loc="outside lower center", ncols=2, frameon=False, markerscale=1.5)
    axes.set_title("Requests that lie close together have similar activations (t-SNE)")
    return png(figure)
