"""``latentwatch bench``: how fast latentwatch is on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import use_one_thread

__all__ = ["bench"]

Benchmark = Callable[[Path, Callable[[str], None]], dict[str, float]]


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the figures to a file, with the machine and the versions.",
)
def bench(names: tuple[str, ...], json_file: Path | None) -> None:
    """Measure how fast latentwatch is on this machine.

    NAMES are benchmarks, all by default: core, growth, peers, recording, offline, state, merging,
    device, replaying, worker, latency, overhead. Run nothing else at the same time. The last four
    start a Kafka of their own. Benchmarks that lack something are skipped: peers needs `make
    peers`, overhead the extra `bench`, and device a CUDA device.
    """
    need("record")
    use_one_thread()
    import orjson

    from latentwatch.lab.bench.machine import machine

    known = _benchmarks()
    if unknown := set(names) - set(known):
        raise click.UsageError(
            f"there is no benchmark {', '.join(sorted(unknown))}: choose among {', '.join(known)}"
        )
    console = Console(stderr=True)
    found = {}
    for name in names or known:
        with (
            console.status(name) as status,
            tempfile.TemporaryDirectory(prefix="latentwatch-bench-") as folder,
        ):
            found[name] = known[name](
                Path(folder),
                lambda text, name=name: status.update(f"{name}: {text}"),  # type: ignore[misc]
            )
        Console().print(_table(name, found[name]))
    if json_file is not None:
        report = {"machine": machine(), "figures": found}
        json_file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _benchmarks() -> dict[str, Benchmark]:
    from latentwatch.lab.bench.core import core, growth, peers
    from latentwatch.lab.bench.device import device
    from latentwatch.lab.bench.inference import overhead
    from latentwatch.lab.bench.kafka import replaying
    from latentwatch.lab.bench.latency import latency
    from latentwatch.lab.bench.merging import merging
    from latentwatch.lab.bench.recordings import offline, recording
    from latentwatch.lab.bench.worker import state, worker

    every = (
        core, growth, peers, recording, offline, state, merging,
        device, replaying, worker, latency, overhead,
    )  # fmt: skip
    return {benchmark.__name__: benchmark for benchmark in every}


def _table(name: str, figures: dict[str, float]) -> Table:
    table = Table(title=name, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for what, figure in figures.items():
        table.add_row(
            what.replace("_", " "), f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
        )
    return table
