"""How many queries until a copier is detected? The figures of ``docs/detection.md`` on extraction.

    python -m latentwatch.chaos.traffic capture --out source.npz --rows 4000 ...
    latentwatch baseline fit source.npz --out baselines ...
    python -m latentwatch.chaos.traffic sets --out sets.npz --clean 12000 --rows 1600 --kind ...
    python -m latentwatch.lab.bench.extraction baselines/.../baseline.safetensors sets.npz

The set ``clean`` is dealt out to honest clients. Every other set is one client's queries, in order.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from latentwatch.stream.cli.options import use_one_thread

if TYPE_CHECKING:
    from latentwatch.detector import Baseline

__all__ = ["main"]

CLIENTS = (1, 24, 240)
RUN_LENGTHS = (1_000, 10_000)
COPIERS_RUN_LENGTH = 1_000_000
TOGETHER = 100
"""Requests per update; a client that has raised an alarm then starts again."""


class Queries(NamedTuple):
    """A set of requests."""

    activations: dict[str, Any]
    predicted: Any

    def __len__(self) -> int:
        return len(self.predicted)

    def take(self, rows: slice) -> Queries:
        """Return some of its rows."""
        layers = {name: values[rows] for name, values in self.activations.items()}
        return Queries(layers, self.predicted[rows])


@click.command()
@click.argument("baseline", type=click.Path(exists=True, dir_okay=False))
@click.argument("sets", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(baseline: str, sets: Path) -> None:
    """Count alarms about honest clients, and the queries of others until the alarm."""
    use_one_thread()
    from latentwatch.detector import Baseline
    from latentwatch.stream.cli.baseline import load_npz

    judge, arrays = Baseline.load(baseline), load_npz(sets)
    names = [key.removesuffix(".predicted") for key in arrays if key.endswith(".predicted")]
    found = {
        name: Queries(
            {layer: arrays[f"{name}.{layer}"] for layer in judge.layer_names},
            arrays[f"{name}.predicted"],
        )
        for name in names
    }
    clean = found.pop("clean")
    click.echo("| honest clients, queries | alarms | allowed |\n|---|---|---|")
    for clients in CLIENTS:
        counts = [str(_false_alarms(judge, clean, clients, length)) for length in RUN_LENGTHS]
        allowed = [f"{len(clean) / length:g} at {length:,}" for length in RUN_LENGTHS]
        click.echo(
            f"| {clients}, {len(clean):,} | {' and '.join(counts)} | {' and '.join(allowed)} |"
        )
    click.echo(
        f"\n| queries of one client | until the alarm at {COPIERS_RUN_LENGTH:,} |\n|---|---|"
    )
    for name, queries in found.items():
        click.echo(f"| {name} | {_until(judge, queries)} |")
    click.echo(f"\n{_cost(judge, clean):.1f} microseconds per query")


def _false_alarms(baseline: Baseline, clean: Queries, clients: int, run_length: float) -> int:
    from latentwatch.detector import ExtractionMonitor

    monitor = ExtractionMonitor(baseline, average_run_length=run_length)
    count = 0
    for start in range(0, len(clean), TOGETHER):
        part = clean.take(slice(start, start + TOGETHER))
        names = [str((start + n) % clients) for n in range(len(part))]
        alarmed = {alarm.client for alarm in monitor.update(*part, names)}
        for client in alarmed:
            monitor.acquit(client)
        count += len(alarmed)
    return count


def _until(baseline: Baseline, queries: Queries) -> str:
    from latentwatch.detector import ExtractionMonitor

    monitor = ExtractionMonitor(baseline, average_run_length=COPIERS_RUN_LENGTH)
    alarms = monitor.update(*queries, ["copier"] * len(queries))
    return f"{alarms[0].row + 1}" if alarms else f"none in {len(queries):,}"


def _cost(baseline: Baseline, clean: Queries) -> float:
    from latentwatch.detector import ExtractionMonitor

    monitor = ExtractionMonitor(baseline, average_run_length=COPIERS_RUN_LENGTH)
    started = time.process_time()
    monitor.update(*clean, [str(n % 64) for n in range(len(clean))])
    return (time.process_time() - started) / len(clean) * 1e6


if __name__ == "__main__":
    main()
