"""The picture of `latentwatch layers`: one t-SNE panel per layer, from early to deep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.investigate.drawing import BLUE, RED, SHOWN, embed, plt, sample
from latentwatch.stream.investigate.separation import LayerReport, Separation
from latentwatch.stream.recording import Recording

__all__ = ["draw_layers"]

COLUMNS = 4
"""Panels per row."""


def draw_layers(
    clean: Recording, attack: Recording, separation: Separation, path: Path, *, seed: int = 0
) -> None:
    """Draw the layers of a comparison and write a PNG."""
    reports = separation.by_depth
    rng = np.random.default_rng(seed)
    kept = [sample(count, SHOWN, rng) for count in (separation.clean_rows, separation.attack_rows)]
    columns = min(COLUMNS, len(reports))
    rows = -(-len(reports) // columns)
    size = (max(3.2 * columns, 6.4), 3.6 * rows + 0.8)
    figure = plt.figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(reports) :]:
        axes.set_axis_off()
    for axes, report in zip(panels, reports, strict=False):
        parts = [
            recording.array(report.layer)[chosen]
            for recording, chosen in zip((clean, attack), kept, strict=True)
        ]
        _draw_panel(axes, report, parts, seed)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, markerscale=3
    )
    figure.suptitle("Activations by layer (t-SNE), the earliest layer first")
    figure.savefig(path)
    plt.close(figure)


def _draw_panel(axes: Any, report: LayerReport, parts: list[NDArray[Any]], seed: int) -> None:
    places = embed(np.concatenate(parts), seed)
    cut = len(parts[0])
    style = {"s": 7, "alpha": 0.65, "linewidths": 0}
    axes.scatter(*places[:cut].T, color=BLUE, label="baseline (first recording)", **style)
    axes.scatter(*places[cut:].T, color=RED, label="inference (second recording)", **style)
    axes.set_title(
        f"{report.layer}\nAUROC {report.auroc:.2f}, detected {report.power:.0%}",
        fontsize=10,
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
