"""``latentwatch record``: the activations topic as Parquet files."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentwatch.stream.cli.options import load_settings, settings_option

if TYPE_CHECKING:
    from latentwatch.stream.recording.recorder import Recorder
    from latentwatch.stream.settings import Settings

__all__ = ["record"]


@click.command()
@click.option("--out", "url", required=True, help="Folder or fsspec URL of the recording.")
@click.option(
    "--rotate-megabytes",
    type=click.FloatRange(min=0.001),
    default=64.0,
    show_default=True,
    help="Write a partition's files when this much is pending; bounds the memory.",
)
@click.option(
    "--rotate-seconds",
    type=click.FloatRange(min=0.1),
    default=300.0,
    show_default=True,
    help="Write a partition's files when its oldest message has waited this long.",
)
@click.option(
    "--partitions",
    help="Partitions to record, separated by commas; all by default. Recorders that write to one "
    "folder must not share any.",
)
@click.option(
    "--until-end", is_flag=True, help="Stop when everything present at the start is recorded."
)
@settings_option
def record(
    url: str,
    rotate_megabytes: float,
    rotate_seconds: float,
    partitions: str | None,
    until_end: bool,
    settings_file: Path | None,
) -> None:
    """Record the activations topic into Parquet files.

    There is one folder per model, version and hour. A file appears when it is complete and names
    the offsets it holds, so a recorder that was killed resumes without loss or repetition. Ctrl-C
    and SIGTERM write what is pending.
    """
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.recording.files import RecordingFiles
    from latentwatch.stream.recording.recorder import Recorder
    from latentwatch.stream.recording.writer import RecordingWriter

    settings = load_settings(settings_file, logs=True)
    check_connection(settings, "recorder")
    files = RecordingFiles(url)
    writer = RecordingWriter(
        files, most_bytes=int(rotate_megabytes * 1e6), most_seconds=rotate_seconds
    )
    wanted = [_partition(text) for text in partitions.split(",")] if partitions else None
    recorder = Recorder(settings, writer, files.recover(wanted), wanted)
    asyncio.run(_run(settings, recorder, until_end))
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in recorder.skipped.items())
    click.echo(
        f"recorded {writer.written.rows:,} requests of {recorder.messages:,} messages in "
        f"{writer.written.files:,} files, {writer.written.bytes / 1e6:,.1f} MB"
        + (f"; skipped messages: {skipped}" if skipped else "")
    )


def _partition(text: str) -> int:
    if not text.strip().isdecimal():
        raise click.UsageError(f"--partitions: {text!r} is not a number: write for example 0,1,2")
    return int(text)


async def _run(settings: Settings, recorder: Recorder, until_end: bool) -> None:
    from aiokafka.errors import KafkaError

    from latentwatch.stream.core.errors import BrokerError

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await recorder.run(stop, until_end=until_end)
    except KafkaError as error:
        raise BrokerError(
            f"the broker at {settings.bootstrap_servers} failed ({error!r}): everything "
            "received is recorded; start the command again to resume"
        ) from error
