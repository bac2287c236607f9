"""``latentwatch demo``: an attack on a traffic-sign network, detected on a real broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from latentwatch.stream.cli.extras import need

__all__ = ["demo"]


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"),
              show_default=True, help="Folder for the results.")  # fmt: skip
@click.option("--share", type=click.FloatRange(0.0, 1.0), default=0.3, show_default=True,
              help="Share of adversarial requests in the attacked hour.")  # fmt: skip
@click.option("--eps", type=click.FloatRange(0.0, 1.0), default=0.03, show_default=True,
              help="Largest change of a pixel by the attack (pixels are 0 to 1).")  # fmt: skip
@click.option("--hours", type=click.IntRange(3), default=4, show_default=True,
              help="The attack fills the last hour but one, then fades.")  # fmt: skip
@click.option("--requests-per-hour", type=click.IntRange(200), default=1600, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of everything random.")  # fmt: skip
@click.option("--broker", type=click.Choice(["auto", "kafka", "mock"]), default="auto",
              show_default=True,
              help="auto: KAFKA_BOOTSTRAP_SERVERS, else Kafka, else the mock cluster.")  # fmt: skip
@click.option("--training-images", type=click.IntRange(128), default=20_000, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--validation-images", type=click.IntRange(1024), default=4000, show_default=True,
              help="Rows of the baseline.")  # fmt: skip
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for trained networks; in the user's cache by default.")  # fmt: skip
@click.option("--dashboard/--no-dashboard", default=True, show_default=True,
              help="Show it in a browser; on a terminal it stays open until Enter.")  # fmt: skip
def demo(cache: Path | None, **options: Any) -> None:
    """See an attack on traffic-sign recognition being detected.

    Four hours of traffic are played as fast as possible.
    """
    need("demo")
    from latentwatch.lab.cache import cache_folder
    from latentwatch.lab.demo.plan import DemoPlan
    from latentwatch.lab.demo.run import run_demo

    plan = DemoPlan(cache=cache or cache_folder() / "signs", **options)
    run_demo(plan, Console())
