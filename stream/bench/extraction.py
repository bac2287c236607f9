"""After how many queries is a copier seen? The figures of ``docs/detection.md`` on extraction.

    python -m producers.chaos capture --out source.npz --rows 4000 ...
    python -m producers.chaos sets --out sets.npz --clean 12000 --rows 1600 --kind extraction ...
    python -m stream.bench.extraction source.npz sets.npz --layer layer4

The set ``clean`` is dealt to honest clients; every other set is one client's queries, in order.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.cli_options import use_one_thread

if TYPE_CHECKING:
    from detector import Extraction, QueryReference

__all__ = ["main"]

CLIENTS = (1, 24, 240)
RUN_LENGTHS = (1_000, 10_000)
COPIERS_RUN_LENGTH = 1_000_000


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("sets", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layer", required=True, help="The deepest, by preference.")
def main(source: Path, sets: Path, layer: str) -> None:
    """Count alarms of honest clients, and queries until those of others alarm."""
    use_one_thread()
    from detector import QueryReference
    from stream.cli_baseline import load_npz

    rows, known = load_npz(sets), load_npz(source)
    reference = QueryReference.fit(known[f"baseline.{layer}"], known["baseline.predicted"])
    clean = rows[f"clean.{layer}"], rows["clean.predicted"]
    click.echo(
        "| honest clients, queries | alarms at 1,000 | at 10,000 | allowed |\n|---|---|---|---|"
    )
    for clients in CLIENTS:
        names = [str(n % clients) for n in range(len(clean[1]))]
        counts = [len(_alarms(reference, *clean, names, length)) for length in RUN_LENGTHS]
        allowed = " and ".join(f"{len(names) / length:g}" for length in RUN_LENGTHS)
        click.echo(f"| {clients}, {len(names):,} | {counts[0]} | {counts[1]} | {allowed} |")
    click.echo("\n| queries of one client | until the alarm at 1,000,000 |\n|---|---|")
    for name in [key.removesuffix(".predicted") for key in rows if key.endswith(".predicted")]:
        if name != "clean":
            click.echo(f"| {name} | {_until(reference, rows, name, layer)} |")
    click.echo(f"\n{_cost(reference, *clean):.1f} microseconds a query")


def _alarms(
    reference: QueryReference, rows: Any, predicted: Any, names: list[str], run_length: float
) -> list[Extraction]:
    from detector import ExtractionMonitor

    monitor = ExtractionMonitor(reference, average_run_length=run_length)
    return monitor.update(rows, predicted, names)


def _until(reference: QueryReference, rows: dict[str, Any], name: str, layer: str) -> str:
    queries = rows[f"{name}.{layer}"], rows[f"{name}.predicted"]
    names = ["copier"] * len(queries[1])
    alarms = _alarms(reference, *queries, names, COPIERS_RUN_LENGTH)
    return f"{alarms[0].row + 1}" if alarms else f"none in {len(names):,}"


def _cost(reference: QueryReference, rows: Any, predicted: Any) -> float:
    started = time.process_time()
    _alarms(reference, rows, predicted, [str(n % 64) for n in range(len(predicted))], 1e6)
    return (time.process_time() - started) / len(predicted) * 1e6


if __name__ == "__main__":
    main()
