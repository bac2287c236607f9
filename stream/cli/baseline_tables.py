"""Tables of ``latentwatch baseline``: what one baseline promises, and how two differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from latentwatch.detector import Baseline, Difference

__all__ = ["describe", "difference_tables"]

RUN_LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
USUAL = 1_000_000

CLASSES_SHOWN = 10


def describe(fitted: Baseline, console: Console) -> None:
    """Print what a baseline was fitted on, its run lengths and its power."""
    facts = Table(show_header=False, title=f"baseline of {fitted.model}/{fitted.version}")
    facts.add_column()
    facts.add_column(overflow="fold")
    widths = zip(fitted.layout.names, fitted.layout.widths, strict=True)
    facts.add_row("layers", ", ".join(f"{name} ({width})" for name, width in widths))
    facts.add_row("rows, classes", f"{fitted.fitted_rows:,}, {fitted.classes}")
    facts.add_row("deciding views", ", ".join(view.name for view in fitted.deciding))
    facts.add_row("windows", f"32 to {fitted.longest_window} requests")
    facts.add_row("seed", str(fitted.seed))
    facts.add_row("SHA-256", fitted.sha256)
    console.print(facts)
    promise = Table(title="average run length: benign requests between two false alarms")
    for column in ("average run length", "about 95 % interval", "threshold of the score"):
        promise.add_column(column, justify="right")
    runs = fitted.calibration.run_lengths
    for length in (length for length in RUN_LENGTHS if length <= runs.longest):
        low, high = runs.interval(length)
        promise.add_row(
            f"{length:,}", f"{low:,.0f} to {high:,.0f}", f"{runs.threshold(length):.2f}"
        )
    console.print(promise)
    console.print(_smallest_shares(fitted))
    console.print(_power(fitted))


def _smallest_shares(fitted: Baseline) -> Table:
    """Smallest share of atypical requests that windows detect, at each average run length."""
    table = Table(title="smallest share of atypical requests that 9 of 10 windows detect")
    table.add_column("window", justify="right")
    calibration = fitted.calibration
    lengths = [length for length in RUN_LENGTHS if length <= calibration.run_lengths.longest]
    for length in lengths:
        table.add_column(f"{length:,}", justify="right")
    thresholds = [calibration.run_lengths.threshold(length) for length in lengths]
    for rows in sorted(calibration.reference_scores):
        shares = [calibration.smallest_share(rows, threshold) for threshold in thresholds]
        table.add_row(str(rows), *("none" if s is None else f"{s:.0%}" for s in shares))
    return table


def _power(fitted: Baseline) -> Table:
    """Share of windows that detect each share of atypical requests, at the usual run length."""
    from latentwatch.detector.calibration import REFERENCE_SHARES
    from latentwatch.detector.simulation import REFERENCE_LEVEL

    usual = min(USUAL, fitted.calibration.run_lengths.longest)
    table = Table(title=f"power by share of atypical requests, at a run length of {usual:,.0f}")
    for name in ("window", *(f"{share:.0%}" for share in REFERENCE_SHARES)):
        table.add_column(name, justify="right")
    threshold = fitted.calibration.run_lengths.threshold(usual)
    for rows in sorted(fitted.calibration.reference_scores):
        power = fitted.calibration.power(rows, threshold)
        table.add_row(str(rows), *(f"{value:.2f}" for value in power))
    table.caption = f"atypical: as unusual as one clean request in {1 / REFERENCE_LEVEL:.0f}"
    return table


def difference_tables(found: Difference) -> Iterator[Table]:
    """Tables of what differs, the settings first; what is alike is one line."""
    yield _facts(found)
    yield _thresholds(found)
    if found.shares:
        yield _class_shares(found)
    if found.layers:
        yield _layers(found)


def _facts(found: Difference) -> Table:
    table = Table("", "first", "second", title="what was fitted")
    alike = [name for name, (one, two) in found.facts.items() if one == two]
    for name, (one, two) in found.facts.items():
        if one != two:
            shown = (f"{value:,}" if isinstance(value, int) else value for value in (one, two))
            table.add_row(name, *shown)
    table.caption = f"alike: {', '.join(alike)}" if alike else None
    return table


def _thresholds(found: Difference) -> Table:
    table = Table(title="threshold of the score")
    for name in ("average run length", "first", "second"):
        table.add_column(name, justify="right")
    for length, pair in found.thresholds.items():
        table.add_row(f"{length:,}", *("none" if t is None else f"{t:.2f}" for t in pair))
    return table


def _class_shares(found: Difference) -> Table:
    changes = {number: abs(two - one) for number, (one, two) in found.shares.items()}
    most = sorted(changes, key=lambda number: -changes[number])[:CLASSES_SHOWN]
    table = Table(title="shares of the classes that changed most")
    for name in ("class", "first", "second"):
        table.add_column(name, justify="right")
    for number in most:
        table.add_row(str(number), *(f"{share:.1%}" for share in found.shares[number]))
    table.caption = f"{sum(changes.values()) / 2:.1%} of the rows would have to change class"
    return table


def _layers(found: Difference) -> Table:
    table = Table(title="how far the means moved, in standard deviations of the first")
    table.add_column("layer")
    for name in ("all", "by chance", "largest", "column", "spread", "classes", "farthest"):
        table.add_column(name, justify="right")
    for layer in found.layers:
        table.add_row(
            layer.name,
            f"{layer.shift:.3f}",
            f"{layer.chance:.3f}",
            f"{layer.largest_shift:+.3f}",
            str(layer.column),
            f"x{layer.spread_ratio:.2f}",
            f"{layer.centre_shift:.3f}",
            str(layer.farthest_class),
        )
    table.caption = "all, classes: root mean square over columns; farthest: the class"
    return table
