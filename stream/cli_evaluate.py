"""``latentwatch evaluate``: false alarms and power on labelled activations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .cli_baseline import load_npz

if TYPE_CHECKING:
    from detector import Evaluation

__all__ = ["evaluate"]


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layers", help="Layers to use, with commas between; all by default.")
@click.option(
    "--alpha",
    type=click.FloatRange(0.001, 0.5),
    default=0.01,
    show_default=True,
    help="Level of each window's test.",
)
@click.option(
    "--windows",
    type=click.IntRange(10),
    default=1000,
    show_default=True,
    help="Windows drawn per size and mixture.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def evaluate(
    data: Path, layers: str | None, alpha: float, windows: int, seed: int, as_json: bool
) -> None:
    """Measure on DATA, an npz file of arrays <set>.<layer> [n, d] and <set>.predicted [n].

    The set "baseline" fits, "clean" is benign traffic, every other set is an attack.
    """
    import orjson

    from detector import evaluate as run

    arrays = load_npz(data)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("fitting, then drawing windows", total=None)
        outcome = run(
            arrays,
            layers=layers.split(",") if layers else None,
            alpha=alpha,
            seed=seed,
            windows=windows,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(orjson.dumps(outcome.as_dict(), option=orjson.OPT_INDENT_2))
    else:
        show(outcome, alpha, Console())


def show(outcome: Evaluation, alpha: float, console: Console) -> None:
    """Print the two tables."""
    false = Table(title=f"false alarms on clean windows, alpha {alpha:g}")
    for size in outcome.false_alarm:
        false.add_column(f"W={size}", justify="right")
    false.add_row(*(f"{rate:.3f}" for rate in outcome.false_alarm.values()))
    console.print(false)
    power = Table(title="power: share of windows rejected (requests@contaminated share)")
    power.add_column("set")
    mixtures = list(next(iter(outcome.power.values()), {}))
    for name in [*mixtures, "AUROC"]:
        power.add_column(name, justify="right")
    for attack, rates in outcome.power.items():
        values = [rates[name] for name in mixtures]
        power.add_row(attack, *(f"{v:.2f}" for v in values), f"{outcome.auroc[attack]:.3f}")
    console.print(power)
