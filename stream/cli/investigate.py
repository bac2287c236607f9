"""``latentwatch layers``, ``inspect`` and ``traces``: investigate attacks and alerts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import load_settings, settings_option, use_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentwatch.detector import Baseline
    from latentwatch.stream.investigate import AnyAlert, MessageSource
    from latentwatch.stream.investigate.page import Report
    from latentwatch.stream.investigate.separation import Separation
    from latentwatch.stream.recording import Recording
    from latentwatch.stream.settings import Settings

__all__ = ["inspect", "layers", "traces"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_THERE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _seed(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    )(command)


@click.command()
@click.argument("clean")
@click.argument("attack")
@click.option(
    "--out", type=_FILE, default="layers.png", show_default=True, help="File for the chart."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--model", help="Model, if a recording holds several.")
@click.option("--model-version", "version", help="Version, if a recording holds several.")
@click.option(
    "--layers", "regex", default="", help="Regular expression: use only layers whose names match."
)
@_seed
def layers(
    clean: str,
    attack: str,
    out: Path,
    as_json: bool,
    model: str | None,
    version: str | None,
    regex: str,
    seed: int,
) -> None:
    """Rank layers by how well they separate attacks.

    CLEAN and ATTACK are recordings, paths or fsspec URLs. The earlier half of CLEAN is the
    baseline. Its later half shows how often a layer raises false alarms, and ATTACK how often it
    detects the attack.
    """
    need("record")
    use_one_thread()
    from latentwatch.stream.investigate.panels import draw_layers
    from latentwatch.stream.investigate.separation import separate

    first, second = (_of_one_model(url, model, version) for url in (clean, attack))
    console = Console(stderr=True)
    with console.status("judging layers") as status:
        found = separate(
            first,
            second,
            _common_layers(first, second, regex),
            seed=seed,
            tell=lambda layer: status.update(f"judging layer {layer}"),
        )
        status.update("drawing")
        draw_layers(first, second, found, out, seed=seed)
    _tell_layers(found, as_json)
    click.echo(f"wrote {out}", err=True)


def _of_one_model(url: str, model: str | None, version: str | None) -> Recording:
    from latentwatch.stream.recording import Recording

    recording = Recording(url).select(model=model, version=version)
    recording.only_model()
    return recording


def _common_layers(clean: Recording, attack: Recording, regex: str) -> dict[str, int]:
    """Layers that both recordings have, in order of depth."""
    import re

    try:
        re.compile(regex)
    except re.error as error:
        raise click.BadParameter(f"{regex!r} is not a regular expression: {error}") from error
    other = attack.layers(regex)
    common = {n: w for n, w in clean.layers(regex).items() if other.get(n) == w}
    if not common:
        raise click.ClickException(
            f"{clean.url} has layers {', '.join(clean.layers()) or 'none'}, {attack.url} has "
            f"{', '.join(attack.layers()) or 'none'}: they share no layer of the same width"
            + (f" that matches {regex!r}" if regex else "")
            + "; choose recordings of one model"
        )
    return common


def _tell_layers(found: Separation, as_json: bool) -> None:
    from dataclasses import asdict

    import orjson

    from latentwatch.stream.investigate.separation import advise

    capture = advise(found)
    if as_json:
        plain = {**asdict(found), "capture": capture}
        click.echo(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    console.print(_layer_table(found))
    if found.constant:
        console.print(f"skipped because they never vary: {', '.join(found.constant)}")
    click.echo(_capture_sentence(capture, found))


def _layer_table(found: Separation) -> Table:
    table = Table(title="layers, best separation first")
    table.add_column("layer")
    for name in ("depth", "width", "AUROC of requests", "median score", "attack seen", "drift"):
        table.add_column(name, justify="right")
    for report in found.layers:
        table.add_row(
            report.layer,
            str(report.depth + 1),
            str(report.width),
            f"{report.auroc:.3f}",
            f"{report.score:.1f}",
            f"{report.power:.0%}",
            f"{report.drift:.1%}",
        )
    table.caption = (
        "score and shares: windows of 64 requests with p at most 0.01; drift: the same for the "
        "later half of the clean recording, about 1 % if nothing changes"
    )
    return table


def _capture_sentence(capture: list[str], found: Separation) -> str:
    import re

    regex = "|".join(re.escape(name) for name in capture)
    deep = found.layers[0]
    if deep.power < 0.5:
        return (
            "No layer detects this attack in half of its windows: capture other layers, or try "
            "longer windows with `latentwatch evaluate`."
        )
    return (
        f"Capture {', '.join(capture)}: the earliest layer separates drift from attacks, the "
        f'deeper ones detect the attack. As a regular expression: "^({regex})$"'
    )


@click.command()
@click.argument("alert_id")
@click.option("--out", type=_FOLDER, required=True, help="Folder for report.html and its pictures.")
@click.option("--recording", help="Read the requests from this recording instead of Kafka.")
@click.option(
    "--alerts",
    "alerts_file",
    type=_THERE,
    help="Read the alert from this JSON Lines file, as an offline replay writes it.",
)
@click.option("--baselines", help="Folder of the baselines, instead of the one in the settings.")
@click.option(
    "--baseline-rows",
    help="Rows for the map: an npz file, as for `baseline fit`, or a recording.",
)
@click.option(
    "--inputs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Show pictures from this folder that input references name.",
)
@click.option(
    "--fetch-inputs",
    is_flag=True,
    help="Also follow references to web servers and object stores; producers choose those "
    "addresses.",
)
@click.option("--force", is_flag=True, help="Replace an existing report.")
@_seed
@settings_option
def inspect(
    alert_id: str,
    out: Path,
    recording: str | None,
    alerts_file: Path | None,
    baselines: str | None,
    baseline_rows: str | None,
    inputs: Path | None,
    fetch_inputs: bool,
    force: bool,
    seed: int,
    settings_file: Path | None,
) -> None:
    """Write a report on an alert.

    ALERT_ID is the id of the alert, or the beginning of it. The alert and exactly the requests of
    its window are read from Kafka, or from a recording, and tested again: the report says whether T
    and E are reproduced. For a model-extraction alert it shows the client's queries and how the
    evidence grew.
    """
    need("record")
    use_one_thread()
    from latentwatch.stream.investigate.page import refuse_overwriting, write_report
    from latentwatch.stream.investigate.pictures import InputPictures
    from latentwatch.stream.kafka.connection import check_connection

    refuse_overwriting(out, force=force)
    settings = load_settings(settings_file, baselines=baselines)
    if recording is None or alerts_file is None:
        all_of_it = recording is None and alerts_file is None
        check_connection(settings, "investigator" if all_of_it else None)
    console = Console(stderr=True)
    with console.status("reading the alert") as status:
        alert = _alert(alert_id, alerts_file, settings)
        baseline = _baseline(alert, settings)
        status.update("reading its requests and testing them again")
        source = _source(alert, recording, settings)
        report = _report(
            alert,
            baseline,
            source,
            origin=source.name,
            recording=recording,
            baseline_rows=_rows(baseline_rows, baseline) if baseline_rows else None,
            pictures=InputPictures(inputs, fetch=fetch_inputs),
            seed=seed,
        )
    click.echo(f"wrote {write_report(report, out)}")


def _report(alert: AnyAlert, baseline: Baseline, source: MessageSource, **options: Any) -> Report:
    from latentwatch.stream.investigate import ClientAlert, judge_again, rows_around

    if isinstance(alert, ClientAlert):
        from latentwatch.stream.investigate.client import judge_client
        from latentwatch.stream.investigate.client_report import make_client_report

        return make_client_report(judge_client(source, alert, baseline), **options)
    from latentwatch.stream.investigate.report import make_report

    judged = judge_again(rows_around(source, alert, baseline), alert, baseline)
    return make_report(judged, **options)


def _alert(alert_id: str, path: Path | None, settings: Settings) -> AnyAlert:
    if path is not None:
        from latentwatch.stream.investigate import alert_in_file

        return alert_in_file(alert_id, path)
    from latentwatch.stream.investigate.kafka import alert_in_kafka

    return alert_in_kafka(alert_id, settings)


def _source(alert: AnyAlert, recording: str | None, settings: Settings) -> MessageSource:
    lane = (alert.model, alert.version, alert.partition)
    if recording is not None:
        from latentwatch.stream.investigate.lane_rows import RecordedMessages

        return RecordedMessages(recording, *lane)
    from latentwatch.stream.investigate.kafka import KafkaMessages

    return KafkaMessages(settings, *lane)


def _baseline(alert: AnyAlert, settings: Settings) -> Baseline:
    """The baseline that the alert was raised with, checked by its SHA-256."""
    from latentwatch.detector import Baseline
    from latentwatch.stream.service.baselines import baseline_url

    url = baseline_url(settings.baselines, alert.model, alert.version)
    try:
        baseline = Baseline.load(url)
    except FileNotFoundError as error:
        raise click.ClickException(
            f"there is no baseline {url}: give the worker's folder of baselines with --baselines"
        ) from error
    if baseline.sha256 != alert.baseline_sha256:
        raise click.ClickException(
            f"{url} is baseline {baseline.sha256[:12]}, but the alert was raised with "
            f"{alert.baseline_sha256[:12]}: give the folder that has this one with --baselines"
        )
    return baseline


def _rows(url: str, baseline: Baseline) -> NDArray[np.float32]:
    """Validation rows float32 [n, all columns] of an npz file or a recording."""
    if url.endswith(".npz"):
        from latentwatch.stream.cli.baseline import read_arrays

        activations, predicted = read_arrays(Path(url), baseline.layer_names)
    else:
        recording = _of_one_model(url, baseline.model, baseline.version)
        activations = {name: recording.array(name) for name in baseline.layer_names}
        predicted = recording.predicted()
    return baseline.rows(activations, predicted)[0]


@click.command()
@click.argument("alert")
@click.option(
    "--link",
    metavar="URL",
    help="Address of a trace in your tracing tool, containing {trace_id}, such as "
    "http://jaeger:16686/trace/{trace_id}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_option
def traces(alert: str, link: str | None, as_json: bool, settings_file: Path | None) -> None:
    """Print traces of an alert's most suspicious requests.

    ALERT is the id of an alert, or the beginning of it. The traces are those that the service
    passed to `publish`; they are read from the messages that the alert names. See docs/traces.md.
    """
    if link is not None and "{trace_id}" not in link:
        raise click.UsageError("--link does not contain {trace_id}: write it where the id belongs")
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.service.traces.lookup import request_traces

    settings = load_settings(settings_file)
    check_connection(settings)
    found = asyncio.run(request_traces(settings, alert))
    if as_json:
        rows = [one._asdict() | {"trace_id": one.trace_id} for one in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        trace = one.trace_id or "no trace"
        if link is not None and one.trace_id is not None:
            trace = link.replace("{trace_id}", one.trace_id)
        name = "".join(letter if letter.isprintable() else "?" for letter in one.request_id)
        click.echo(f"{trace:32}  p {one.p_value:<8.3g}  {name}")
