"""``latentwatch soak``: break the running service and check that nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import use_one_thread

__all__ = ["soak"]

NAMES = ("kills", "exceptions", "signals", "rebalances", "broker", "cluster", "clock", "recorder",
         "publisher", "mixed")  # fmt: skip


@click.command()
@click.option("--suite", "suites", multiple=True, type=click.Choice(NAMES),
              help="Suite to run; may be repeated. All by default.")  # fmt: skip
@click.option("--kills", type=click.IntRange(0), default=50, show_default=True,
              help="Workers killed in the suite kills.")  # fmt: skip
@click.option("--exceptions", type=click.IntRange(0), default=60, show_default=True,
              help="Workers that raise in the suite exceptions.")  # fmt: skip
@click.option("--rebalances", type=click.IntRange(0), default=20, show_default=True,
              help="Workers that join or leave in the suite rebalances.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Length of the suite mixed, in minutes.")  # fmt: skip
@click.option("--outage-seconds", type=click.FloatRange(min=1.0), default=60.0, show_default=True,
              help="How long a broker is unreachable.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0.1), default=2.0, show_default=True,
              help="Steps of the stream per second, 360 requests each.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of the stream, of the faults and of their times.")  # fmt: skip
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path),
              help="Folder in which data and logs are kept.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write everything to a JSON file.")  # fmt: skip
@click.option("--markdown", "markdown_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write the tables to a Markdown file.")  # fmt: skip
def soak(
    suites: tuple[str, ...],
    logs: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    **knobs: Any,
) -> None:
    """Break the running service and check that nothing is lost.

    Workers are killed, paused, stopped and added, brokers are killed and cut off, clocks jump and
    disks fill while a synthetic stream runs. Afterwards every count, sum and alert must equal
    that of an undisturbed run; otherwise the exit code is 1. The brokers are its own and need
    Java 17; nothing else is touched. See docs/faults.md.
    """
    need("demo", "record")
    # aiokafka warns of unreachable brokers, which are intended here
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    use_one_thread()
    from latentwatch.lab.soak.report import differences, markdown, tables
    from latentwatch.lab.soak.suites import Knobs

    folder = logs or Path(tempfile.mkdtemp(prefix="latentwatch-soak-"))
    outcomes = [asyncio.run(_run(name, Knobs(**knobs), folder)) for name in suites or NAMES]
    console = Console()
    for table in tables(outcomes):
        console.print(table)
    if json_file is not None:
        _write_json(json_file, outcomes)
    if markdown_file is not None:
        markdown_file.write_text(markdown(outcomes))
    if not all(outcome.holds for outcome in outcomes):
        for line in differences(outcomes):
            click.echo(line, err=True)
        raise click.ClickException(
            f"the results differ from an undisturbed run: see data and logs in {folder}"
        )


async def _run(name: str, knobs: Any, folder: Path) -> Any:
    from latentwatch.lab.soak.suites import run_named

    own = folder / name
    own.mkdir(parents=True)
    console = Console(stderr=True)
    with console.status(name) as status:

        def say(text: str) -> None:
            status.update(f"{name}: {text}")
            if not console.is_terminal:
                click.echo(f"{name}: {text}", err=True)

        return await run_named(name, knobs, own, say)


def _write_json(path: Path, outcomes: list[Any]) -> None:
    import orjson

    from latentwatch.lab.bench.machine import machine

    report = {"machine": machine(), "outcomes": outcomes}
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
