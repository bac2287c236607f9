"""``latentwatch import`` and ``latentwatch export``: from and to the forms of other systems."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from latentwatch.stream.cli.group import Group
from latentwatch.stream.cli.options import EventTime

if TYPE_CHECKING:
    from latentwatch.stream.importers import HourVerdict, Outputs, Summary

__all__ = ["export_group", "import_group"]

Command = Callable[..., Any]

_source = click.argument("source", type=click.Path(exists=True, path_type=Path))


def _target_options(command: Command) -> Command:
    """Where the recording goes, and whose it is."""
    for option in reversed(
        [
            click.option("--out", required=True, help="Folder or fsspec URL of the recording."),
            click.option("--model", required=True, help="Name of the model, as its baseline has."),
            click.option("--model-version", "version", required=True, help="Version of the model."),
            click.option("--force", is_flag=True, help="Replace a recording that is there."),
            click.option(
                "--channels-last",
                is_flag=True,
                help="Layers of more than two axes are [n, height, width, channels].",
            ),
        ]
    ):
        command = option(command)
    return command


def _output_options(command: Command) -> Command:
    """Where layers and predictions stand in a response."""
    for option in reversed(
        [
            click.option(
                "--layer",
                "layers",
                multiple=True,
                required=True,
                metavar="NAME[=KEY]",
                help="A layer and where it stands in the response; once for each, the earliest "
                "layer first. KEY is an output's name, JSON members with dots between, or CSV "
                "columns such as 1:65; by default NAME.",
            ),
            click.option(
                "--predicted",
                required=True,
                metavar="KEY",
                help="The predicted class, or the scores of all classes.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.group("import", cls=Group)
def import_group() -> None:
    """Make recordings of what other systems captured (docs/import.md)."""


@import_group.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_target_options
@click.option("--predicted", required=True, help="Tensor of the classes, or of all scores.")
@click.option("--include-regex", default="", help="Tensors to take as layers; all by default.")
@click.option(
    "--start",
    "start_ns",
    type=EventTime(),
    required=True,
    help="When step 0 was, such as 2026-01-05T10:00:00Z.",
)
@click.option(
    "--step-seconds",
    type=click.FloatRange(0.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between two steps.",
)
def debugger(
    source: Path,
    out: str,
    predicted: str,
    include_regex: str,
    start_ns: int,
    step_seconds: float,
    channels_last: bool,
    **target: Any,
) -> None:
    """Import a folder of SageMaker Debugger tensors, SOURCE, exported to npz by step."""
    from latentwatch.stream.importers import Clock, Summary, read_debugger

    clock = Clock(start_ns, round(step_seconds * 10**9))
    summary = Summary()
    events = read_debugger(
        source,
        summary,
        predicted=predicted,
        clock=clock,
        include_regex=_regex(include_regex),
        channels_last=channels_last,
    )
    _write(events, out, summary, target)


@import_group.command("data-capture")
@_source
@_target_options
@_output_options
@click.option(
    "--request-id",
    type=click.Choice(["eventId", "inferenceId"]),
    default="eventId",
    show_default=True,
    help="Member of eventMetadata that names a request.",
)
def data_capture(
    source: Path,
    out: str,
    layers: tuple[str, ...],
    predicted: str,
    channels_last: bool,
    request_id: Any,
    **target: Any,
) -> None:
    """Import SageMaker data capture: SOURCE is a JSONL file, or the folder of a variant."""
    from latentwatch.stream.importers import Summary, read_data_capture

    summary = Summary()
    outputs = _outputs(layers, predicted, channels_last)
    _write(read_data_capture(source, outputs, summary, request_id), out, summary, target)


@import_group.command()
@_source
@_target_options
@_output_options
@click.option("--service", help="inferenceservicename of the events to take.")
@click.option(
    "--component",
    type=click.Choice(["predictor", "transformer", "explainer"]),
    default="predictor",
    show_default=True,
    help="Component whose events to take.",
)
def kserve(
    source: Path,
    out: str,
    layers: tuple[str, ...],
    predicted: str,
    channels_last: bool,
    service: str | None,
    component: str,
    **target: Any,
) -> None:
    """Import CloudEvents of KServe's inference logger: SOURCE is a file or a folder."""
    from latentwatch.stream.importers import Service, Summary, read_kserve

    summary = Summary()
    outputs = _outputs(layers, predicted, channels_last)
    _write(read_kserve(source, outputs, summary, Service(service, component)), out, summary, target)


def _outputs(layers: tuple[str, ...], predicted: str, channels_last: bool) -> Outputs:
    from latentwatch.stream.importers import Outputs

    keys: dict[str, str] = {}
    for layer in layers:
        name, _, key = layer.partition("=")
        if not name or name in keys:
            raise click.UsageError(f"--layer {layer}: give NAME=KEY, and each name once")
        keys[name] = key or name
    return Outputs(keys, predicted, channels_last)


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise click.UsageError(f"--include-regex {text!r}: {error}") from None
    return text


def _write(events: Any, out: str, summary: Summary, target: dict[str, Any]) -> None:
    from latentwatch.stream.importers import check_target, write_recording

    # before hours of reading
    check_target(out, force=target["force"])
    write_recording(events, out, summary=summary, **target)
    click.echo(
        f"imported {summary.rows:,} requests in {summary.messages:,} messages into {out} as "
        f"{target['model']}/{target['version']}"
    )
    if summary.skipped:
        Console().print(_skipped_table(summary))


def _skipped_table(summary: Summary) -> Table:
    table = Table(title="left out: requests, or whole lines and files that could not be read")
    table.add_column("reason")
    table.add_column("left out", justify="right")
    table.add_column("first at", overflow="fold")
    table.add_column("what it was", overflow="fold")
    for reason, found in summary.skipped.items():
        table.add_row(reason, f"{found.count:,}", found.place, found.detail)
    return table


@click.group("export", cls=Group)
def export_group() -> None:
    """Write what other systems read (docs/import.md)."""


@export_group.command()
@click.argument("url")
@click.option(
    "--hour",
    "hour_ns",
    type=EventTime(),
    required=True,
    help="Hour to judge, UTC, such as 2026-01-05T10.",
)
@click.option("--baseline", "baseline_url", required=True, help="Path or URL of the baseline.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="constraint_violations.json",
    show_default=True,
)
@click.option(
    "--false-discovery-rate",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of benign requests tolerated among those listed.",
)
@click.option(
    "--level",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    # baselines that are fitted with the default settings have p-values below it
    default=0.002,
    show_default=True,
    help="How often a clean hour may have layers listed: of 500 clean hours one.",
)
@click.option("--model", help="Model, where the recording has several.")
@click.option("--model-version", "version", help="Version, where the recording has several.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def violations(
    url: str,
    hour_ns: int,
    baseline_url: str,
    out: Path,
    false_discovery_rate: float,
    level: float,
    model: str | None,
    version: str | None,
    force: bool,
) -> None:
    """Write an hour of the recording at URL as constraint_violations.json."""
    from latentwatch.detector import Baseline
    from latentwatch.stream.core.times import HOUR_NS
    from latentwatch.stream.importers import judge_hour, violations_of
    from latentwatch.stream.recording import Recording

    hour, rest = divmod(hour_ns, HOUR_NS)
    if rest:
        raise click.UsageError("--hour: give the start of an hour, such as 2026-01-05T10")
    if out.exists() and not force:
        raise click.ClickException(f"{out} is there already; --force replaces it")
    recording = Recording(url).select(model=model, version=version)
    baseline = Baseline.load(baseline_url)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("judging", total=None)
        verdict = judge_hour(
            recording,
            baseline,
            hour,
            false_discovery_rate=false_discovery_rate,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    found = violations_of(verdict, level=level)
    _write_whole(out, found)
    _tell(verdict, len(found["violations"]), out)


def _write_whole(out: Path, found: dict[str, Any]) -> None:
    """Write the file at once: whoever waits for it never reads a half."""
    import orjson

    unfinished = out.with_name(f"{out.name}.unfinished")
    unfinished.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    os.replace(unfinished, out)


def _tell(verdict: HourVerdict, listed: int, out: Path) -> None:
    count = len(verdict.flagged.requests)
    click.echo(
        f"{verdict.sketch.rows:,} requests, {verdict.sketch.judged:,} of them distinct: "
        f"{listed - count} layers and {count:,} requests in {out}"
    )
    if verdict.decision is None:
        click.echo("too few requests for a decision on the hour: no layer can be listed", err=True)
    if verdict.refused:
        click.echo(
            f"{verdict.refused:,} requests were left out, as a worker refuses them: "
            f"{verdict.refusal}",
            err=True,
        )
