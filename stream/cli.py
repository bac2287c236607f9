"""The command ``latentwatch``.

Modules are imported inside the commands: ``latentwatch --help`` must not wait for torch.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Literal

import click

from .cli_acls import acls
from .cli_baseline import baseline
from .cli_bench import bench
from .cli_dashboard import dashboard
from .cli_demo import demo
from .cli_evaluate import evaluate
from .cli_experiment import experiment
from .cli_group import Group
from .cli_import import export_group, import_group
from .cli_investigate import inspect, layers
from .cli_notify import notify
from .cli_options import load_settings, settings_option, use_one_thread
from .cli_record import record
from .cli_replay import replay
from .cli_soak import soak
from .cli_traces import traces
from .version import VERSION

__all__ = ["main"]


@click.group(cls=Group)
@click.version_option(VERSION, prog_name="latentwatch")
def main() -> None:
    """Is somebody attacking our model right now, and with which requests?"""


main.add_command(acls)
main.add_command(baseline)
main.add_command(bench)
main.add_command(dashboard)
main.add_command(demo)
main.add_command(evaluate)
main.add_command(experiment)
main.add_command(export_group)
main.add_command(import_group)
main.add_command(inspect)
main.add_command(layers)
main.add_command(notify)
main.add_command(record)
main.add_command(replay)
main.add_command(soak)
main.add_command(traces)


@main.command()
@click.option("--port", type=int, help="Port to listen on; a free one by default.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep the data in; by default a temporary one that is removed.",
)
@click.option(
    "--kind",
    type=click.Choice(["auto", "kafka", "mock"]),
    default="kafka",
    show_default=True,
    help="Apache Kafka, librdkafka's mock cluster, or Kafka where it can be had.",
)
def broker(port: int | None, data: Path | None, kind: Literal["auto", "kafka", "mock"]) -> None:
    """Run a single-node Apache Kafka until Ctrl-C, without Docker."""
    import signal
    import threading

    from .broker import KafkaBroker, open_broker
    from .settings import Settings
    from .topics import topic_specs

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())

    def say(text: str) -> None:
        click.echo(text, err=True)

    if kind == "kafka":
        opened: Any = KafkaBroker(port=port, data=data, progress=say)
    else:
        if port is not None or data is not None:
            raise click.UsageError("--port and --data go with --kind kafka")
        partitions = {spec.name: spec.partitions for spec in topic_specs(Settings())}
        opened = open_broker(kind, progress=say, warn=say, topics=partitions)
    with opened as running:
        click.echo(f"KAFKA_BOOTSTRAP_SERVERS={running.bootstrap_servers}")
        say("broker is ready; Ctrl-C stops it")
        ended.wait()


@main.command()
@settings_option
def topics(settings_file: Path | None) -> None:
    """Create the topics that are missing; the others are left as they are."""
    from .security.connection import check_connection
    from .topics import create_topics

    settings = load_settings(settings_file)
    check_connection(settings, "administrator")
    for name, outcome in asyncio.run(create_topics(settings)).items():
        click.echo(f"{outcome:8}{name}")


@main.command()
@settings_option
def worker(settings_file: Path | None) -> None:
    """Watch the activations topic; start several to share its partitions."""
    use_one_thread()
    settings = load_settings(settings_file)
    from .security.connection import check_connection
    from .worker import run_worker

    check_connection(settings, "worker")
    run_worker(settings)


if __name__ == "__main__":
    sys.exit(main())
