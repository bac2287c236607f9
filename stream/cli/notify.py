"""``latentwatch notify``: send alerts to people and to Alertmanager."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from latentwatch.stream.cli.extras import need
from latentwatch.stream.cli.options import load_settings, settings_option

__all__ = ["notify"]


@click.command()
@click.option(
    "--to",
    "urls",
    multiple=True,
    metavar="[NAME=]URL",
    help="Target; may be repeated: alertmanager+http://host:9093, "
    "webhook+https://host/path#env:SECRET, or an Apprise URL.",
)
@click.option(
    "--to-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one target per line; use it for URLs that contain passwords.",
)
@click.option(
    "--resend-seconds",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="Seconds between two reminders to Alertmanager; its alerts expire after twice as long.",
)
@settings_option
def notify(
    urls: tuple[str, ...], to_file: Path | None, resend_seconds: float, settings_file: Path | None
) -> None:
    """Send alerts to people, webhooks and Alertmanager.

    A message is sent when an alert fires, changes its severity, or resolves; once per change, also
    across restarts. A target that does not answer is retried until it does, without delaying the
    others. See docs/subscribers.md.
    """
    need("notify")
    import random

    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.notify.parse import parse_targets, targets_in_file
    from latentwatch.stream.notify.run import notify as run

    settings = load_settings(settings_file, logs=True)
    texts = [*urls, *(targets_in_file(to_file) if to_file else [])]
    if not texts:
        raise click.UsageError(
            "there is nowhere to send alerts: name a target with --to or --to-file"
        )
    targets = parse_targets(texts, resend_seconds=resend_seconds)
    check_connection(settings, "notifier")
    asyncio.run(run(settings, targets, random.Random()))
