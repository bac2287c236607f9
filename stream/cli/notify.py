"""``latentwatch notify``: people are told what is in the alerts topic."""

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
    help="Target, any number of times: alertmanager+http://host:9093, "
    "webhook+https://host/path#env:SECRET, or a URL of apprise.",
)
@click.option(
    "--to-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a target a line: URLs with passwords in them do not belong on a command line.",
)
@click.option(
    "--resend-seconds",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="How often Alertmanager is reminded; its alerts expire after twice as long.",
)
@settings_option
def notify(
    urls: tuple[str, ...], to_file: Path | None, resend_seconds: float, settings_file: Path | None
) -> None:
    """Tell people when an alert fires, changes its severity, or resolves.

    Each change is told once, across restarts too, and nothing is lost: a target that does not
    answer is tried until it does, and holds up no other. See docs/subscribers.md.
    """
    need("notify")
    import random

    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.notify.parse import parse_targets, targets_in_file
    from latentwatch.stream.notify.run import notify as run
    from latentwatch.stream.settings.logs import configure_logs

    settings = load_settings(settings_file)
    configure_logs(settings)
    texts = [*urls, *(targets_in_file(to_file) if to_file else [])]
    if not texts:
        raise click.UsageError("nobody to tell: name a target with --to or --to-file")
    targets = parse_targets(texts, resend_seconds=resend_seconds)
    check_connection(settings, "notifier")
    asyncio.run(run(settings, targets, random.Random()))
