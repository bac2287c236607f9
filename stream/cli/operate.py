"""``latentwatch topics`` and ``latentwatch worker``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from latentwatch.stream.cli.options import load_settings, settings_option, use_one_thread

__all__ = ["topics", "worker"]


@click.command()
@settings_option
def topics(settings_file: Path | None) -> None:
    """Create missing topics; existing ones are left unchanged."""
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.kafka.topics import create_topics

    settings = load_settings(settings_file)
    check_connection(settings, "administrator")
    for name, outcome in asyncio.run(create_topics(settings)).items():
        click.echo(f"{outcome:8}{name}")


@click.command()
@settings_option
def worker(settings_file: Path | None) -> None:
    """Watch the activations topic and raise alerts.

    Start several workers to share its partitions. See docs/operations.md.
    """
    use_one_thread()
    settings = load_settings(settings_file, logs=True)
    from latentwatch.stream.kafka.connection import check_connection
    from latentwatch.stream.service.app import run_worker

    check_connection(settings, "worker")
    run_worker(settings)
