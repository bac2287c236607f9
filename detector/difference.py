"""Comparison of two baselines: settings, data, thresholds, and how far the means moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from latentwatch.detector.agreement import ClassDistances
from latentwatch.detector.baseline import Baseline
from latentwatch.detector.features import Float64, Int64

RUN_LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
"""Average run lengths, in requests, at which thresholds are compared."""

CHANCE = 2.0
"""Units of chance above which means have moved; fresh rows of the same kind differ by about one."""

Verdict = Literal["the same", "similar data", "other data", "other model", "not comparable"]


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """How a layer of the second baseline differs from that of the first.

    Parameters
    ----------
    name : str
    shift : float
        Root mean square of how far the column means moved, in the first's standard deviations.
    chance : float
        Approximate shift if both were fitted on fresh rows of the same kind.
    largest_shift : float
        Largest shift of a column, with its sign.
    column : int
        Index of that column within the layer.
    spread_ratio : float
        Median over columns of the ratio of standard deviations, second to first.
    centre_shift : float
        Root mean square of how far the class means moved, in the same units as `shift`.
    farthest_class : int
        Class whose mean moved farthest.
    """

    name: str
    shift: float
    chance: float
    largest_shift: float
    column: int
    spread_ratio: float
    centre_shift: float
    farthest_class: int

    @property
    def moved(self) -> bool:
        """Whether the means moved by more than chance explains."""
        return self.shift > CHANCE * self.chance


@dataclass(frozen=True, slots=True)
class Difference:
    """Comparison of two baselines.

    Parameters
    ----------
    facts : dict of str to (first, second)
        Settings and sizes, as numbers or texts.
    thresholds : dict of int to (first, second)
        Scores by average run length; None where a baseline cannot promise it.
    shares : dict of int to (first, second)
        Share of each class among the rows; empty where rare classes were pooled differently.
    layers : tuple of LayerDifference
        Layers of both that have the same width.
    verdict : str
    meaning : str
        The verdict as a sentence.
    """

    facts: dict[str, tuple[Any, Any]]
    thresholds: dict[int, tuple[float | None, float | None]]
    shares: dict[int, tuple[float, float]]
    layers: tuple[LayerDifference, ...]
    verdict: Verdict
    meaning: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; keys are strings."""
        return {
            "verdict": self.verdict,
            "meaning": self.meaning,
            "facts": {name: list(pair) for name, pair in self.facts.items()},
            "thresholds": {str(length): list(pair) for length, pair in self.thresholds.items()},
            "class_shares": {str(number): list(pair) for number, pair in self.shares.items()},
            "layers": [asdict(layer) for layer in self.layers],
        }


def compare_baselines(first: Baseline, second: Baseline) -> Difference:
    """Compare two baselines."""
    layers = tuple(_layers(first, second))
    verdict, meaning = _verdict(first, second, layers)
    return Difference(
        facts={name: (_facts(first)[name], _facts(second)[name]) for name in _facts(first)},
        thresholds={n: (_threshold(first, n), _threshold(second, n)) for n in RUN_LENGTHS},
        shares=_shares(first, second),
        layers=layers,
        verdict=verdict,
        meaning=meaning,
    )


def _facts(baseline: Baseline) -> dict[str, Any]:
    layout = baseline.layout
    widths = zip(layout.names, layout.widths, strict=True)
    return {
        "model": baseline.model,
        "version": baseline.version,
        "layers": ", ".join(f"{name} ({width})" for name, width in widths),
        "columns that vary": len(layout.kept),
        "rows": baseline.fitted_rows,
        "classes": baseline.classes,
        "class groups": baseline.groups,
        "longest window": baseline.longest_window,
        "seed": baseline.seed,
        "SHA-256": baseline.sha256,
    }


def _threshold(baseline: Baseline, run_length: int) -> float | None:
    longest = baseline.calibration.run_lengths.longest
    return baseline.threshold(run_length) if run_length <= longest else None


def _shares(first: Baseline, second: Baseline) -> dict[int, tuple[float, float]]:
    own = [np.bincount(b.group_of_class, minlength=b.groups) == 1 for b in (first, second)]
    shares = [b.views[0].null.counts / b.fitted_rows for b in (first, second)]
    found = {}
    for number in range(min(first.classes, second.classes)):
        one, two = first.group_of_class[number], second.group_of_class[number]
        if own[0][one] and own[1][two]:
            found[number] = (float(shares[0][one]), float(shares[1][two]))
    return found


def _layers(first: Baseline, second: Baseline) -> list[LayerDifference]:
    found = []
    for name, width in zip(first.layout.names, first.layout.widths, strict=True):
        if dict(zip(second.layout.names, second.layout.widths, strict=True)).get(name) != width:
            continue
        if len(_common(first, second, name)[0]):
            found.append(_layer(first, second, name))
    return found


def _common(first: Baseline, second: Baseline, name: str) -> tuple[Int64, Int64, Int64]:
    """Columns of a layer that both use: indices within it, and positions in each baseline."""
    starts = [sum(b.layout.widths[: b.layout.names.index(name)]) for b in (first, second)]
    one, two = (
        b.layout.columns(name) - start for b, start in zip((first, second), starts, strict=True)
    )
    columns, places, others = np.intersect1d(one, two, return_indices=True)
    return columns, places, others


def _layer(first: Baseline, second: Baseline, name: str) -> LayerDifference:
    columns, places, others = _common(first, second, name)
    one, two = (b.agreement.layers[b.layout.names.index(name)] for b in (first, second))
    spread = 1.0 / one.scale[places].astype(np.float64)
    moved = (two.mean[others].astype(np.float64) - one.mean[places]) / spread
    classes = np.arange(min(first.classes, second.classes))
    centres = _centres(two)[second.group_of_class[classes]][:, others]
    centres = (centres - _centres(one)[first.group_of_class[classes]][:, places]) / spread
    by_class = np.mean(centres**2, axis=1)
    largest = int(np.argmax(np.abs(moved)))
    return LayerDifference(
        name,
        shift=float(np.sqrt(np.mean(moved**2))),
        chance=float(np.sqrt(1.0 / first.fitted_rows + 1.0 / second.fitted_rows)),
        largest_shift=float(moved[largest]),
        column=int(columns[largest]),
        spread_ratio=float(np.median(one.scale[places] / two.scale[others])),
        centre_shift=float(np.sqrt(by_class.mean())),
        farthest_class=int(np.argmax(by_class)),
    )


def _centres(layer: ClassDistances) -> Float64:
    """Class means [G, d] of a layer in the units of the activations."""
    standard = np.linalg.solve(
        layer.whitening.T.astype(np.float64), layer.centres.T.astype(np.float64)
    ).T
    raw: Float64 = standard / layer.scale + layer.mean
    return raw


def _verdict(
    first: Baseline, second: Baseline, layers: tuple[LayerDifference, ...]
) -> tuple[Verdict, str]:
    if first.sha256 == second.sha256:
        return "the same", "the same: every setting and every number agrees"
    if first.layout.names != second.layout.names or first.layout.widths != second.layout.widths:
        return "not comparable", "not comparable: the layers or their widths differ"
    moved = [layer for layer in layers if layer.moved]
    farthest = max(layers, key=lambda layer: layer.shift / layer.chance)
    figures = (
        f"the means of {farthest.name} moved by {farthest.shift:.3f} standard deviations, where "
        f"chance explains about {farthest.chance:.3f}"
    )
    if moved and (first.model, first.version) != (second.model, second.version):
        return "other model", f"another model: {figures}; each judges its own model version alone"
    if moved:
        return "other data", f"refitted on other data: {figures}; find out what changed"
    return "similar data", f"refitted on similar data: {figures}; either may stand in for the other"
