"""``latentwatch topics``, ``acls`` and ``worker``: prepare the broker, then run the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from latentwatch.stream.cli.options import load_settings, settings_option, use_one_thread
from latentwatch.stream.kafka.acls import ROLES, Role

__all__ = ["acls", "topics", "worker"]


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
@click.argument("role", type=click.Choice(tuple(ROLES)))
@click.option(
    "--principal",
    metavar="User:NAME",
    help="Who gets the permissions: User: and the user name, or the subject of the certificate. "
    "User:latentwatch-ROLE by default.",
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table instead of commands.")
@settings_option
def acls(role: Role, principal: str | None, markdown: bool, settings_file: Path | None) -> None:
    """Print kafka-acls.sh commands that give ROLE what it needs.

    They grant the least permissions that are enough, on the topics and the consumer group of the
    settings. Nothing is changed on the broker: its administrator runs the commands. See
    docs/security.md.
    """
    from latentwatch.stream.kafka.acls import acls_table, kafka_acls_commands

    settings = load_settings(settings_file)
    if markdown:
        click.echo(acls_table(settings, [role]), nl=False)
        return
    who = principal or f"User:latentwatch-{role}"
    kind, _, name = who.partition(":")
    if kind != "User" or not name:
        raise click.UsageError(
            f"--principal {who!r}: write User: and a name, as in User:vision-worker or "
            "User:CN=vision-worker"
        )
    for command in kafka_acls_commands(role, settings, who):
        click.echo(command)


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
