"""``latentwatch import`` and ``latentwatch export``: read and write formats of other systems."""

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
    """Where the recording goes, and which model it belongs to."""
    for option in reversed(
        [
            click.option("--out", required=True, help="Folder or fsspec URL of the recording."),
            click.option("--model", required=True, help="Name of the model, as in its baseline."),
            click.option("--model-version", "version", required=True, help="Version of the model."),
            click.option("--force", is_flag=True, help="Replace an existing recording."),
            click.option(
                "--channels-last",
                is_flag=True,
                help="Layers with more than two axes are [n, height, width, channels].",
            ),
        ]
    ):
        command = option(command)
    return command


def _output_options(command: Command) -> Command:
    """Where layers and predictions are found in a response."""
    for option in reversed(
        [
            click.option(
                "--layer",
                "layers",
                multiple=True,
                required=True,
                metavar="NAME[=KEY]",
                help="A layer and its place in the response; repeat it for each layer, earliest "
                "first. KEY is an output's name, JSON members separated by dots, or CSV columns "
                "such as 1:65; by default NAME.",
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
    """Convert captures of other systems to recordings."""


@import_group.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_target_options
@click.option(
    "--predicted", required=True, help="Tensor of the predicted classes, or of all scores."
)
@click.option(
    "--include-regex",
    default="",
    help="Regular expression of the tensors to use as layers; all by default.",
)
@click.option(
    "--start",
    "start_ns",
    type=EventTime(),
    required=True,
    help="Time of step 0, such as 2026-01-05T10:00:00Z.",
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
    """Import tensors of SageMaker Debugger.

    SOURCE is a folder of tensors, exported to one npz file per step. See docs/import.md.
    """
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
    """Import data captured by a SageMaker endpoint.

    SOURCE is a JSONL file, or the folder of a variant. See docs/import.md.
    """
    from latentwatch.stream.importers import Summary, read_data_capture

    summary = Summary()
    outputs = _outputs(layers, predicted, channels_last)
    _write(read_data_capture(source, outputs, summary, request_id), out, summary, target)


@import_group.command()
@_source
@_target_options
@_output_options
@click.option("--service", help="Import only events with this inferenceservicename.")
@click.option(
    "--component",
    type=click.Choice(["predictor", "transformer", "explainer"]),
    default="predictor",
    show_default=True,
    help="Import only events of this component.",
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
    """Import CloudEvents of KServe's inference logger.

    SOURCE is a file or a folder. See docs/import.md.
    """
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
            raise click.UsageError(
                f"--layer {layer} is malformed or repeated: give NAME=KEY, and each name once"
            )
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

    # check before hours of reading
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
    """Write files that other systems read."""


@export_group.command()
@click.argument("url")
@click.option(
    "--hour",
    "hour_ns",
    type=EventTime(),
    required=True,
    help="Hour to test, UTC, such as 2026-01-05T10.",
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
    help="Tolerated share of benign requests among those listed.",
)
@click.option(
    "--level",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    # baselines fitted with the default settings reach p-values below it
    default=0.002,
    show_default=True,
    help="Share of clean hours in which a layer may be listed; 0.002 is one hour in 500.",
)
@click.option("--model", help="Model, if the recording holds several.")
@click.option("--model-version", "version", help="Version, if the recording holds several.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
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
    """Write one hour as constraint_violations.json.

    URL is a recording; the format is that of SageMaker Model Monitor. See docs/import.md.
    """
    from latentwatch.detector import Baseline
    from latentwatch.stream.core.times import HOUR_NS
    from latentwatch.stream.importers import judge_hour, violations_of
    from latentwatch.stream.recording import Recording

    hour, rest = divmod(hour_ns, HOUR_NS)
    if rest:
        raise click.UsageError(
            "--hour is not the start of an hour: write for example 2026-01-05T10"
        )
    if out.exists() and not force:
        raise click.ClickException(f"{out} already exists; --force replaces it")
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
    _print_verdict(verdict, len(found["violations"]), out)


def _write_whole(out: Path, found: dict[str, Any]) -> None:
    """Write the file under another name and rename it, so nobody reads half of it."""
    import orjson

    unfinished = out.with_name(f"{out.name}.unfinished")
    unfinished.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    os.replace(unfinished, out)


def _print_verdict(verdict: HourVerdict, listed: int, out: Path) -> None:
    count = len(verdict.flagged.requests)
    click.echo(
        f"{verdict.sketch.rows:,} requests, {verdict.sketch.judged:,} of them distinct: "
        f"{listed - count} layers and {count:,} requests in {out}"
    )
    if verdict.decision is None:
        click.echo(
            "there are too few requests for a decision on the hour: no layer can be listed",
            err=True,
        )
    if verdict.refused:
        click.echo(
            f"{verdict.refused:,} requests were left out, as a worker refuses them: "
            f"{verdict.refusal}",
            err=True,
        )
