"""``latentwatch baseline``: fit one on validation arrays, and show what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from detector import Baseline

__all__ = ["baseline", "fit_with_progress", "load_npz", "read_arrays"]

RUN_LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
USUAL = 1_000_000


@click.group()
def baseline() -> None:
    """Fit and show baselines."""


def load_npz(path: Path) -> dict[str, Any]:
    """All arrays of an npz file."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, BadZipFile) as error:
        raise click.ClickException(
            f"{path} is no npz file of plain arrays; write one with numpy.savez"
        ) from error


def read_arrays(path: Path, layers: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    """Activations by layer and predictions, from ``[baseline.]<layer>`` arrays of an npz file."""
    arrays = {
        name.removeprefix("baseline."): array
        for name, array in load_npz(path).items()
        if name.startswith("baseline.") or "." not in name
    }
    predicted = arrays.pop("predicted", None)
    missing = [name for name in layers if name not in arrays]
    if predicted is None or missing or not arrays:
        wanted = ", ".join(missing) or "predicted and one array [N, d] a layer"
        raise click.ClickException(
            f"{path} lacks {wanted}; it has {', '.join(arrays) or 'no arrays'}"
        )
    return {name: arrays[name] for name in layers or arrays}, predicted


def fit_with_progress(
    activations: dict[str, Any], predicted: Any, console: Console, **options: Any
) -> Baseline:
    """Fit, with a progress bar over the simulated streams."""
    from detector import Baseline

    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("calibrating on simulated clean streams", total=None)
        return Baseline.fit(
            activations,
            predicted,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
            **options,
        )


@baseline.command()
@click.argument("arrays", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="Name of the model, as its service publishes it.")
@click.option("--model-version", "version", required=True, help="Version of the model.")
@click.option(
    "--baselines",
    default="./baselines",
    show_default=True,
    help="Folder or fsspec URL; the file is <model>/<version>.safetensors in it.",
)
@click.option("--layers", help="Layers to use, with commas between; all by default.")
@click.option("--classes", type=int, help="Classes of the model; by default as many as are seen.")
@click.option("--longest-window", type=int, default=512, show_default=True, help="In requests.")
@click.option(
    "--simulated-requests",
    type=click.IntRange(1_000),
    default=1_600_000,
    show_default=True,
    help="Clean requests to simulate; run lengths of up to a hundred times as many can be had.",
)
@click.option("--drop-constant", is_flag=True, help="Leave out features that never vary.")
@click.option("--pool-rare-classes", is_flag=True, help="Let rare classes share one mean.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace a baseline that is there already.")
def fit(
    arrays: Path,
    model: str,
    version: str,
    baselines: str,
    layers: str | None,
    force: bool,
    pool_rare_classes: bool,
    **options: Any,
) -> None:
    """Fit a baseline on ARRAYS, an npz file of the validation phase.

    It holds one array [N, d] a layer, the earliest layer first, named <layer> or
    baseline.<layer>, and the predicted classes [N], named predicted or baseline.predicted.
    """
    from detector.artefact import filesystem_of

    from .baselines import baseline_url

    url = baseline_url(baselines, model, version)
    filesystem, path = filesystem_of(url)
    if filesystem.exists(path) and not force:
        raise click.ClickException(f"{url} is there already; --force replaces it")
    activations, predicted = read_arrays(arrays, tuple(layers.split(",")) if layers else ())
    console = Console(stderr=True)
    fitted = fit_with_progress(
        activations,
        predicted,
        console,
        model=model,
        version=version,
        rare_classes="pool" if pool_rare_classes else "refuse",
        **options,
    )
    fitted.save(url)
    click.echo(f"wrote {url}")
    describe(fitted, Console())


@baseline.command()
@click.argument("url")
def show(url: str) -> None:
    """Show what the baseline at URL was fitted on, and what it promises."""
    from detector import Baseline

    describe(Baseline.load(url), Console())


def describe(fitted: Baseline, console: Console) -> None:
    """Print the promise of a baseline."""
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
    """What share of atypical requests windows see, at each average run length."""
    table = Table(title="smallest share of atypical requests that 9 of 10 windows see")
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
    """How many windows see each share of atypical requests, at the usual run length."""
    from detector.calibration import REFERENCE_SHARES
    from detector.simulation import REFERENCE_LEVEL

    usual = min(USUAL, fitted.calibration.run_lengths.longest)
    table = Table(title=f"power by share of atypical requests, at a run length of {usual:,.0f}")
    for name in ("window", *(f"{share:.0%}" for share in REFERENCE_SHARES)):
        table.add_column(name, justify="right")
    threshold = fitted.calibration.run_lengths.threshold(usual)
    for rows in sorted(fitted.calibration.reference_scores):
        power = fitted.calibration.power(rows, threshold)
        table.add_row(str(rows), *(f"{value:.2f}" for value in power))
    table.caption = f"atypical: as one clean request in {1 / REFERENCE_LEVEL:.0f}"
    return table
