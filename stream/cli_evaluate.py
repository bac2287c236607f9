"""``latentwatch evaluate``: false alarms, power and delays on labelled activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from .cli_baseline import load_npz

__all__ = ["evaluate"]


class _Measures(click.ParamType):
    """Some of the measures, with commas between."""

    name = "measures"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Check the names; all of them where nothing is given."""
        from detector.evaluation import MEASURES

        chosen = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if unknown := set(chosen) - set(MEASURES):
            self.fail(f"{', '.join(sorted(unknown))}: choose among {', '.join(MEASURES)}")
        return chosen


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
    help="Windows drawn per size and mixture; streams and hours grow with them.",
)
@click.option(
    "--measures",
    type=_Measures(),
    default="power,arl,delay,requests",
    show_default=True,
    help="What to measure: power of windows, realised run lengths, delays, requests and hours.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def evaluate(
    data: Path,
    layers: str | None,
    alpha: float,
    windows: int,
    measures: Any,
    seed: int,
    as_json: bool,
) -> None:
    """Measure on DATA, an npz file of arrays <set>.<layer> [n, d] and <set>.predicted [n].

    The set "baseline" fits, "clean" is benign traffic, sets whose name begins with "drift" are
    ordinary drift, and every other set is an attack.
    """
    import orjson

    from detector import evaluate as run

    from .evaluation_tables import tables

    arrays = load_npz(data)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("fitting, then measuring", total=None)
        outcome = run(
            arrays,
            layers=layers.split(",") if layers else None,
            alpha=alpha,
            seed=seed,
            windows=windows,
            measures=measures,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(orjson.dumps(outcome.as_dict(), option=orjson.OPT_INDENT_2))
        return
    console = Console()
    for table in tables(outcome, alpha):
        console.print(table)
