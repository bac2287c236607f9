"""``latentwatch traces``: from an alert to the traces of its requests."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from latentwatch.stream.cli.options import load_settings, settings_option

__all__ = ["traces"]


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
