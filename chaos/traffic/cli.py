"""The commands of ``python -m latentwatch.chaos.traffic``; see `latentwatch.chaos.traffic`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from latentwatch.chaos.traffic.errors import ChaosError
from latentwatch.chaos.traffic.kinds import KINDS, Kind
from latentwatch.chaos.traffic.plan import Stretch, make_plan
from latentwatch.chaos.traffic.play import play
from latentwatch.chaos.traffic.sets import make_sets, source
from latentwatch.chaos.traffic.target import Target
from latentwatch.chaos.traffic.workload import make_requests
from latentwatch.producers.errors import ProducerError
from latentwatch.producers.publisher import BackgroundPublisher

__all__ = ["main"]

Command = Callable[..., Any]
_FILE = click.Path(dir_okay=False, path_type=Path)
_SHARE = click.FloatRange(0, 1)


@click.group(help="Traffic for chaos experiments, to any torch classifier.")
def main() -> None:
    """Entry point of ``python -m latentwatch.chaos.traffic``."""


def _target(command: Command) -> Command:
    """Options that name the classifier and its inputs."""
    for option in reversed(
        (
            click.option("--classifier", required=True, metavar="PACKAGE.MODULE:CALLABLE",
                         help="Called without arguments, it returns a torch module."),
            click.option("--inputs", required=True, metavar="FILE.npz|PACKAGE.MODULE:CALLABLE",
                         help="Arrays inputs and labels, or a function that draws them."),
            click.option("--layers", required=True,
                         help="Regular expression of the modules to capture."),
            click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
        )
    ):  # fmt: skip
        command = option(command)
    return command


_kind = click.option("--kind", type=click.Choice(KINDS), help="Kind of attack or drift.")
_strength = click.option(
    "--strength", type=float, help="In the unit of the kind; by default its usual strength."
)
_baseline = click.option("--baseline", type=_FILE, help="For attacks that know the detector.")


@main.command("capture")
@_target
@click.option("--rows", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--out", type=_FILE, required=True, help="File to write, .npz.")
@_kind
@_strength
@click.option(
    "--share", type=_SHARE, default=0.0, show_default=True, help="Share of poisoned rows."
)
def capture_command(
    classifier: str, inputs: str, layers: str, seed: int, rows: int, out: Path,
    kind: str | None, strength: float | None, share: float,
) -> None:  # fmt: skip
    """Write activations for `latentwatch baseline fit`, the set "baseline"."""
    with _reported_errors():
        target = Target.of(classifier, inputs, layers)
        poison = Kind(kind, strength) if kind else None
        source(target, rows, seed, poison, share).save(out)


@main.command("play")
@_target
@click.option("--bootstrap-servers", envvar="KAFKA_BOOTSTRAP_SERVERS", required=True)
@click.option("--topic", required=True)
@click.option("--model", required=True, help="Name, as in its baseline.")
@click.option("--version", required=True)
@click.option("--shard", help="Third part of the message key, for a separate partition.")
@click.option("--name", required=True, help="Prefix of the request ids.")
@click.option(
    "--truth", type=_FILE, required=True, help="File for the truth about each request, JSON lines."
)
@click.option("--start-ns", type=click.IntRange(0), required=True, help="Event time of the start.")
@click.option("--run-seconds", type=click.FloatRange(0), default=0.0, show_default=True,
              help="Wall-clock time to take; 0 is as fast as possible.")  # fmt: skip
@click.option("--requests", type=click.IntRange(1), required=True)
@click.option("--seconds", type=float, default=3600.0, show_default=True, help="Of event time.")
@_kind
@_strength
@_baseline
@click.option("--share", type=_SHARE, default=0.0, show_default=True, help="Share of bad requests.")
@click.option(
    "--begin", type=_SHARE, default=0.0, show_default=True, help="Where they begin, from 0 to 1."
)
@click.option(
    "--until", type=_SHARE, default=1.0, show_default=True, help="Where they end, from 0 to 1."
)
@click.option(
    "--dropped", type=_SHARE, default=0.0, show_default=True, help="Share of lost messages."
)
@click.option(
    "--late", type=_SHARE, default=0.0, show_default=True, help="Share of messages sent last."
)
@click.option("--skew-seconds", type=float, default=0.0, show_default=True)
@click.option("--favoured", type=click.IntRange(0), help="Class of a share of the requests.")
@click.option("--favour", type=_SHARE, default=0.0, show_default=True, help="Share of that class.")
def play_command(
    classifier: str, inputs: str, layers: str, seed: int, bootstrap_servers: str, topic: str,
    model: str, version: str, shard: str | None, name: str, truth: Path, start_ns: int,
    run_seconds: float, kind: str | None, strength: float | None, baseline: Path | None,
    **stretch_options: Any,
) -> None:  # fmt: skip
    """Play a stretch of traffic; print what was played as JSON."""
    with _reported_errors():
        target = Target.of(classifier, inputs, layers)
        stretch = Stretch(**stretch_options)
        plan = make_plan(stretch, start_ns, seed)
        bad = Kind(kind, strength, baseline) if kind else None
        requests = make_requests(target, plan, stretch, bad, seed=seed)
        with BackgroundPublisher(
            bootstrap_servers, model, version, topic=topic, shard=shard, source="/chaos"
        ) as publisher:
            played = play(
                target, requests, publisher, name=name, stretch=stretch, run_seconds=run_seconds,
                truth=truth, seed=seed,
            )  # fmt: skip
    click.echo(orjson.dumps(played._asdict()))


@main.command("sets")
@_target
@click.option("--out", type=_FILE, required=True, help="File to write, .npz.")
@click.option("--kind", "kinds", multiple=True, required=True, metavar="NAME[@STRENGTH]",
              help="May be repeated.")  # fmt: skip
@click.option(
    "--clean", type=click.IntRange(1), default=4000, show_default=True, help="Clean rows."
)
@click.option(
    "--rows", type=click.IntRange(1), default=300, show_default=True, help="Rows per kind."
)
@_baseline
def sets_command(
    classifier: str, inputs: str, layers: str, seed: int, out: Path, kinds: tuple[str, ...],
    clean: int, rows: int, baseline: Path | None,
) -> None:  # fmt: skip
    """Write activations of clean and changed inputs for `latentwatch experiment scorecard`."""
    with _reported_errors():
        target = Target.of(classifier, inputs, layers)
        wanted = [_parsed(text, baseline) for text in kinds]
        sets = make_sets(target, wanted, clean=clean, changed_rows=rows, seed=seed)
        sets.save(out)
    for name, figures in sets.attacks.items():
        click.echo(f"{name} fools the classifier with {figures['success']:.1%} of its inputs")


def _parsed(text: str, baseline: Path | None) -> Kind:
    name, _, strength = text.partition("@")
    try:
        return Kind(name, float(strength) if strength else None, baseline)
    except ValueError:
        raise click.UsageError(
            f"{text} is not a kind: write NAME or NAME@STRENGTH, such as pgd@0.03"
        ) from None


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Turn our exceptions into a message and exit code 1."""
    try:
        yield
    except (ChaosError, ProducerError) as error:
        raise click.ClickException(str(error)) from error
