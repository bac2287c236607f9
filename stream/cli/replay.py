"""``latentwatch replay``: recorded traffic again, with or without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from latentwatch.stream.cli.options import (
    load_settings,
    part_options,
    settings_option,
    use_one_thread,
)

if TYPE_CHECKING:
    from latentwatch.detector import Baseline
    from latentwatch.stream.core.rates import FindBaseline
    from latentwatch.stream.recording import Recording
    from latentwatch.stream.settings import Settings

__all__ = ["replay"]

MOST_LAG = 2_000


class _Speed(click.ParamType):
    """``max``, or a factor on the original pace."""

    name = "number|max"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        """Parse."""
        if value == "max":
            return "max"
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0.0 < speed < float("inf"):
            self.fail(f"{value!r}: write a number above 0, such as 60, or max")
        return speed


@click.command()
@click.argument("url")
@part_options
@click.option(
    "--request-id", "request_ids", multiple=True, help="Only this request; may be repeated."
)
@click.option(
    "--speed",
    type=_Speed(),
    default="1",
    show_default=True,
    help="1 is the original pace, 60 replays an hour per minute, max is as fast as the worker.",
)
@click.option(
    "--most-lag",
    type=click.IntRange(0),
    default=MOST_LAG,
    show_default=True,
    help="At speed max: largest lag of the worker, in messages; 0 for no limit.",
)
@click.option(
    "--end-marker/--no-end-marker",
    default=True,
    show_default=True,
    help="Let the worker close the last hours immediately.",
)
@click.option(
    "--topic-prefix", help="Prefix instead of the one in the settings; keeps live topics clean."
)
@click.option("--offline", is_flag=True, help="Decide in this process, without a broker.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Offline: folder for alerts.jsonl, detection-rates.jsonl and flagged-requests.jsonl.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Offline: print only JSON.")
@click.option(
    "--average-run-length", type=click.IntRange(256), help="Offline: try another run length."
)
@click.option("--baseline", "baseline_url", help="Offline: try this baseline, a path or URL.")
@click.option("--fit-on", help="Offline: fit a baseline on this npz file or recording, and try it.")
@click.option("--layers", help="Offline, with --fit-on: layers to use, separated by commas.")
@settings_option
def replay(
    url: str,
    request_ids: tuple[str, ...],
    offline: bool,
    topic_prefix: str | None,
    average_run_length: int | None,
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Replay a recording into Kafka, or decide on it offline.

    URL is the recording. Keys, ids and event times are those of the recording, and so are the
    partitions if the topic has as many. Use separate topics (--topic-prefix) and a separate
    application_id: among live traffic, old hours would be late.
    """
    use_one_thread()
    from latentwatch.stream.recording import Recording

    _check(offline, average_run_length, options)
    part = {name: options[name] for name in ("model", "version", "since_ns", "until_ns")}
    part["request_ids"] = frozenset(request_ids) or None
    recording = Recording(url).select(**part)
    settings = load_settings(
        settings_file, topic_prefix=topic_prefix, average_run_length=average_run_length
    )
    if offline:
        _offline(recording, settings, options)
    else:
        _into_kafka(recording, settings, options)


def _check(offline: bool, average_run_length: int | None, options: dict[str, Any]) -> None:
    """Refuse options that would have no effect."""
    names = ("out", "force", "as_json", "baseline_url", "fit_on", "layers")
    given = [f"--{name.split('_')[0]}" for name in names if options[name]]
    given += ["--average-run-length"] if average_run_length else []
    if given and not offline:
        raise click.UsageError(f"{', '.join(given)} need --offline: a worker has its own settings")
    if options["layers"] and not options["fit_on"]:
        raise click.UsageError(
            "--layers needs --fit-on: a baseline is fitted on the layers that it judges; name the "
            "npz file or recording of validation traffic"
        )
    if options["fit_on"] and options["baseline_url"]:
        raise click.UsageError("--fit-on and --baseline exclude each other")


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _bar(bars: Progress, recording: Recording, what: str) -> Callable[[int, int], None]:
    """Moves a bar that shows requests, their rate and the time left."""
    task = bars.add_task(what, total=len(recording), rate="")

    def progress(done: int, _: int) -> None:
        speed = bars.tasks[0].speed
        rate = f"{speed:,.0f} requests/s" if speed else ""
        bars.update(task, completed=done, rate=rate)

    return progress


def _into_kafka(recording: Recording, settings: Settings, options: dict[str, Any]) -> None:
    from aiokafka.errors import KafkaError

    from latentwatch.stream.core.errors import BrokerError
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.replay.kafka import Pace, Replay

    check_connection(settings, "replayer")
    speed = options["speed"]
    replaying = Replay(
        settings,
        Pace(None if speed == "max" else speed),
        most_lag=options["most_lag"] if speed == "max" else 0,
        end_marker=options["end_marker"],
    )
    with _bars(Console(stderr=True)) as bars:
        try:
            progress = _bar(bars, recording, "replaying")
            asyncio.run(replaying.run(recording.messages(progress)))
        except KafkaError as error:
            raise BrokerError(
                f"the broker at {settings.bootstrap_servers} failed ({error!r}) after "
                f"{replaying.rows:,} requests: see that it is up, and replay again from there "
                "with --since, into topics of their own"
            ) from error
    click.echo(f"replayed {replaying.rows:,} requests in {replaying.messages:,} messages")


def _offline(recording: Recording, settings: Settings, options: dict[str, Any]) -> None:
    import orjson

    from latentwatch.stream.core.outputs import Outputs, output_roles
    from latentwatch.stream.replay.outputs import OutputFiles, tables
    from latentwatch.stream.replay.partitions import replay_recording
    from latentwatch.stream.service.baselines import featuriser_of

    topics, console = settings.topics(), Console(stderr=True)
    outputs = OutputFiles(options["out"], topics, force=options["force"])
    find = _baselines(recording, settings, options, console)
    found, roles = Outputs(), output_roles(topics)
    with _bars(console) as bars, outputs:
        progress = _bar(bars, recording, "deciding")
        featuriser = featuriser_of(settings.feature_device)
        records, refused = replay_recording(
            recording, settings, find, progress, featuriser=featuriser
        )
        for record in records:
            if role := roles.get(record.topic):
                found.take(role, orjson.loads(record.value or b"")["data"])
            outputs.write(record)
    if options["as_json"]:
        shown = {
            "alerts": list(found.latest_alerts.values()),
            "rates": list(found.rates.values()),
            "flagged": list(found.flagged.values()),
            "refused": dict(refused),
        }
        click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2))
        return
    for table in tables(found):
        Console().print(table)
    for reason, count in refused.items():
        click.echo(f"{count:,} messages were refused: {reason}")


def _baselines(
    recording: Recording, settings: Settings, options: dict[str, Any], console: Console
) -> FindBaseline:
    """Where the replay finds its baselines: the settings' folder, one artefact, or a fresh fit."""
    from latentwatch.detector import Baseline
    from latentwatch.stream.replay.offline import one_baseline
    from latentwatch.stream.service.baselines import BaselineStore

    if options["baseline_url"]:
        return one_baseline(recording, Baseline.load(options["baseline_url"]), settings)
    if options["fit_on"]:
        chosen = tuple(options["layers"].split(",")) if options["layers"] else ()
        fitted = _fit(options["fit_on"], recording.only_model(), chosen, console)
        return one_baseline(recording, fitted, settings)
    return BaselineStore.of(settings, lambda: 0.0).find


def _fit(source: str, name: tuple[str, str], layers: tuple[str, ...], console: Console) -> Baseline:
    """A baseline of validation traffic, for this replay alone."""
    from latentwatch.stream.cli.baseline import fit_with_progress
    from latentwatch.stream.cli.sources import Part, open_source

    model, version = name
    # validation traffic may be of another version: what is tried is a fit on it
    is_file = Path(source).is_file()
    part = Part(model, version if is_file else None, layers=layers)
    trusted = open_source(source, part)
    return fit_with_progress(
        trusted.activations, trusted.predicted, console, model=model, version=version
    )
