"""``latentwatch experiment``: break the system on purpose; does the defence hold?"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.group import Group

__all__ = ["experiment"]

LOOKS = {"held": "green", "deviated": "red", "not run": "yellow"}


@click.group(cls=Group)
def experiment() -> None:
    """Run chaos experiments, and write the scorecard of a model."""


@experiment.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("chaos"),
              show_default=True, help="Folder for results; one per experiment in it.")  # fmt: skip
@click.option("--var", "variables", multiple=True, metavar="NAME[:TYPE]=VALUE",
              help="Value for the configuration; types as in Chaos Toolkit.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace results of earlier runs.")
def run(files: tuple[Path, ...], out: Path, variables: tuple[str, ...], force: bool) -> None:
    """Run Chaos Toolkit experiments and keep their reports.

    FILES are experiments; experiments/ has ready-made ones. The exit code is 0 if the defence held
    in all of them, and 1 if it did not or if one could not be run. A broker is started unless
    KAFKA_BOOTSTRAP_SERVERS names one.
    """
    need("chaos")
    from latentwatch.chaos.experiment.run import read_variables, run_experiments

    # aiokafka warns of unreachable brokers, which are intended here
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    held = True
    for outcome in run_experiments(
        files, out, force=force, variables=read_variables(variables), progress=_say
    ):
        held = held and outcome.verdict == "held"
        why = f": {outcome.why}" if outcome.why else ""
        verdict = click.style(outcome.verdict, fg=LOOKS[outcome.verdict])
        click.echo(f"{verdict}  {outcome.title} ({outcome.seconds:.0f} s){why}")
        click.echo(f"  {outcome.folder}")
    if not held:
        raise SystemExit(1)


@experiment.command()
@click.argument(
    "data", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--baseline", "baseline_url", required=True, help="Path or URL of the baseline in use."
)
@click.option("--average-run-length", type=click.IntRange(256), default=1_000_000,
              show_default=True, help="Run length in use.")  # fmt: skip
@click.option("--within", type=click.IntRange(64), default=2000, show_default=True,
              help="Requests after which an attack counts as missed.")  # fmt: skip
@click.option("--streams", type=click.IntRange(10), default=100, show_default=True,
              help="Simulated streams per attack and share.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder for scorecard.html and scorecard.json.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing scorecard.")
def scorecard(
    data: tuple[Path, ...], baseline_url: str, out: Path, force: bool, **options: Any
) -> None:
    """Write which attacks are detected, how fast, and which are not.

    DATA are npz files of arrays <set>.<layer> [n, d] and <set>.predicted [n], as
    `python -m latentwatch.chaos.traffic sets` writes them. The set "clean" is benign traffic that
    the baseline was not fitted on, and every other set is an attack. A .json file of the same name
    says what the attacks achieve.
    """
    need("chaos")
    from datetime import UTC, datetime

    from latentwatch.chaos.experiment.scorecard import make_scorecard
    from latentwatch.chaos.experiment.scorecard_page import refuse_overwriting, write_scorecard
    from latentwatch.detector import Baseline
    from latentwatch.stream.cli.sources import load_npz

    refuse_overwriting(out, force=force)
    arrays: dict[str, Any] = {}
    success: dict[str, float] = {}
    for path in data:
        arrays |= load_npz(path)
        success |= _success(path.with_suffix(".json"))
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("attacking", total=None)
        card = make_scorecard(
            Baseline.load(baseline_url),
            arrays,
            success=success,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
            **options,
        )
    click.echo(f"wrote {write_scorecard(card, out, datetime.now(UTC).date().isoformat())}")


def _success(path: Path) -> dict[str, float]:
    import orjson

    if not path.exists():
        return {}
    return {name: one["success"] for name, one in orjson.loads(path.read_bytes()).items()}


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)
