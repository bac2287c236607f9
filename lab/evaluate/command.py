"""``latentwatch evaluate``: false alarms, power and delays on labelled activations."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress

from latentwatch.stream.cli.baseline import load_npz

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["evaluate"]


SIMULATED_REQUESTS = 1_600_000
"""The default of `latentwatch.detector.evaluate`, which is imported when it is needed."""


class _Names(click.ParamType):
    """Names separated by commas; the choices are imported when they are needed."""

    name = "names"

    def __init__(self, choices: Callable[[], tuple[str, ...]]) -> None:
        self.choices = choices

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split and check."""
        chosen = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if unknown := set(chosen) - set(self.choices()):
            self.fail(f"{', '.join(sorted(unknown))}: choose among {', '.join(self.choices())}")
        return chosen


def _measures() -> tuple[str, ...]:
    from latentwatch.detector.evaluation.measures import MEASURES

    return MEASURES


def _methods() -> tuple[str, ...]:
    from latentwatch.lab.peers.against import METHODS

    return METHODS


@click.command()
@click.argument(
    "data", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--layers", help="Layers to use, separated by commas; all by default.")
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
    help="Windows per size and mixture; the numbers of streams and hours grow with it.",
)
@click.option(
    "--measures",
    type=_Names(_measures),
    default="power,arl,delay,requests",
    show_default=True,
    help="What to measure: power of windows, realised run lengths, delays, requests and hours.",
)
@click.option(
    "--splits",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Above 1: measure run lengths on this many random splits of the baseline and clean rows, "
    "instead of on the split in the file.",
)
@click.option(
    "--against",
    type=_Names(_methods),
    default=(),
    help="Compare with other methods on the same windows: ladis, alibi, frouros, frouros-median, "
    "mmd-permutation.",
)
@click.option(
    "--against-windows",
    type=click.IntRange(10),
    default=200,
    show_default=True,
    help="Windows per size and mixture in that comparison.",
)
@click.option(
    "--against-sets", help="Attacks in that comparison, separated by commas; all by default."
)
@click.option(
    "--peers-python",
    type=click.Path(path_type=Path),
    help="Interpreter with alibi-detect and frouros; 'make peers' prepares the default.",
)
@click.option(
    "--simulated-requests",
    type=click.IntRange(1_000),
    default=SIMULATED_REQUESTS,
    show_default=True,
    help="Length of the simulated streams that set thresholds; fewer are faster and less certain.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the tables to a Markdown file.",
)
def evaluate(
    data: tuple[Path, ...],
    layers: str | None,
    against: tuple[str, ...],
    against_windows: int,
    against_sets: str | None,
    peers_python: Path | None,
    as_json: bool,
    markdown: Path | None,
    **options: Any,
) -> None:
    """Measure false alarms, power and delays on labelled data.

    DATA are npz files of arrays <set>.<layer> [n, d] and <set>.predicted [n]. The set "baseline" is
    fitted on, "clean" is benign traffic, sets whose name begins with "drift" are ordinary drift,
    and every other set is an attack.
    """
    import orjson

    from latentwatch.lab.evaluate.tables import comparison_tables, tables
    from latentwatch.lab.evaluate.tables import markdown as as_markdown

    arrays, chosen = _load(data), layers.split(",") if layers else None
    outcome = _measure(arrays, chosen, options)
    found, shown = outcome.as_dict(), list(tables(outcome, options["alpha"]))
    if against:
        limits: dict[str, Any] = {"windows": against_windows, "layers": chosen}
        limits["attacks"] = against_sets.split(",") if against_sets else None
        compared = _compare(arrays, against, peers_python, {**options, **limits})
        found["against"] = compared
        shown += comparison_tables(compared, options["alpha"])
    if markdown is not None:
        markdown.write_text(_heading(data, layers, options) + as_markdown(shown))
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    else:
        _print(shown)


def _load(data: tuple[Path, ...]) -> dict[str, Any]:
    """The arrays of all files."""
    arrays: dict[str, Any] = {}
    for path in data:
        found = load_npz(path)
        if twice := sorted(set(arrays) & set(found)):
            raise click.ClickException(
                f"{path} has {twice[0]}, and so has an earlier file: rename the set in one of them"
            )
        arrays |= found
    return arrays


def _measure(arrays: dict[str, Any], layers: list[str] | None, options: dict[str, Any]) -> Any:
    from latentwatch.detector import evaluate as run

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("fitting, then measuring", total=None)
        return run(
            arrays,
            layers=layers,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
            **options,
        )


def _compare(
    arrays: dict[str, Any], methods: tuple[str, ...], python: Path | None, options: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    from latentwatch.lab.peers import DEFAULT_PYTHON
    from latentwatch.lab.peers.against import against

    names = ("layers", "attacks", "alpha", "seed", "windows", "simulated_requests")
    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def progress(method: str, done: int, total: int) -> None:
            if method not in tasks:
                tasks[method] = bars.add_task(method, total=total)
            bars.update(tasks[method], completed=done, total=total)

        return against(
            arrays,
            methods,
            **{name: options[name] for name in names},
            python=python or DEFAULT_PYTHON,
            progress=progress,
        )


def _heading(data: tuple[Path, ...], layers: str | None, options: dict[str, Any]) -> str:
    """What was measured, and when."""
    from latentwatch import __version__

    day = datetime.now(UTC).date().isoformat()
    words = ["latentwatch", "evaluate", *(path.name for path in data)]
    words += ["--layers", layers] if layers else []
    for name in ("windows", "alpha", "seed"):
        words += [f"--{name}", f"{options[name]:g}"]
    for name, usual in (("splits", 1), ("simulated_requests", SIMULATED_REQUESTS)):
        if options[name] != usual:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    return f"`{shlex.join(words)}`, version {__version__}, {day}.\n\n"


def _print(shown: list[Table]) -> None:
    console = Console()
    for table in shown:
        console.print(table)
