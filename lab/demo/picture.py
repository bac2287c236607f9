"""The demo's picture: detection rate by hour, and some of the attacked signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from latentwatch.lab.demo.verdict import Verdict
from latentwatch.stream.core.outputs import Outputs

mpl.use("Agg")

from matplotlib import pyplot as plt

__all__ = ["draw"]

SIGNS = 6
BLUE, ORANGE, RED = "#3b6ea5", "#e08a1e", "#b3261e"


def draw(outputs: Outputs, verdict: Verdict, layer: str, examples: Path, path: Path) -> None:
    """Draw hourly rates as bars above pairs of clean and adversarial signs; write a PNG."""
    figure = plt.figure(figsize=(10, 7.2), dpi=120, layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.05, 1))
    upper, lower = parts[0, 0], parts[1, 0]
    _draw_hours(upper, outputs, verdict, layer)
    with np.load(examples) as arrays:
        _draw_signs(lower, {name: arrays[name] for name in arrays.files})
    figure.savefig(path)
    plt.close(figure)


def _draw_hours(figure: Any, outputs: Outputs, verdict: Verdict, layer: str) -> None:
    rows = outputs.hours(layer)
    axes = figure.subplots()
    place = np.arange(len(rows))
    truth = [verdict.adversarial_by_hour.get(r["hour"], 0) / r["requests"] for r in rows]
    estimate = [r["contamination"] for r in rows]
    bars = [
        (-0.27, truth, RED, "truly adversarial"),
        (0.0, estimate, ORANGE, "estimated contamination"),
        (0.27, [r["detection_rate"] for r in rows], BLUE, "flagged (detection rate)"),
    ]
    for shift, values, colour, label in bars:
        drawn = axes.bar(place + shift, np.array(values) * 100, 0.25, color=colour, label=label)
        axes.bar_label(drawn, fmt="%.1f", fontsize=8)
    marks = [f"{r['alarms']} alarms in {r['windows']} windows" for r in rows]
    names = [f"{r['hour'][11:16]}\n{r['requests']:,} requests\n{mark}" for r, mark in
             zip(rows, marks, strict=True)]  # fmt: skip
    axes.set_xticks(place, names)
    axes.set_ylabel("% of the hour's requests")
    axes.set_title("Adversarial requests by hour: sent and detected")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.15)
    axes.legend(frameon=False)


def _draw_signs(figure: Any, examples: dict[str, Any]) -> None:
    fooled = np.flatnonzero(examples["predicted_adversarial"] != examples["label"])[:SIGNS]
    figure.suptitle("Signs as drawn, and with the attack's noise: hardly a difference to the eye")
    if not len(fooled):
        return
    axes = figure.subplots(2, len(fooled), squeeze=False)
    for column, index in enumerate(fooled):
        for row, (kind, predicted, colour) in enumerate(
            [("clean", "predicted_clean", BLUE), ("adversarial", "predicted_adversarial", RED)]
        ):
            name = examples["names"][examples[predicted][index]]
            axes[row, column].imshow(examples[kind][index], interpolation="nearest")
            axes[row, column].set_title(f"“{name}”", fontsize=9, color=colour)
            axes[row, column].set_axis_off()
