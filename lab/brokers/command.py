"""``latentwatch broker``: a Kafka broker for trying things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

__all__ = ["broker"]


@click.command()
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
    help="Apache Kafka, librdkafka's mock cluster, or auto: Kafka where possible, else the mock.",
)
def broker(port: int | None, data: Path | None, kind: Literal["auto", "kafka", "mock"]) -> None:
    """Run a single-node Apache Kafka until Ctrl-C, without Docker."""
    import signal
    import threading

    from latentwatch.lab.brokers import KafkaBroker, open_broker
    from latentwatch.stream.kafka.topics import topic_specs
    from latentwatch.stream.settings import Settings

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())

    def say(text: str) -> None:
        click.echo(text, err=True)

    if kind == "kafka":
        opened: Any = KafkaBroker(port=port, data=data, progress=say)
    else:
        if port is not None or data is not None:
            raise click.UsageError("--port and --data need --kind kafka")
        partitions = {spec.name: spec.partitions for spec in topic_specs(Settings())}
        opened = open_broker(kind, progress=say, warn=say, topics=partitions)
    with opened as running:
        click.echo(f"KAFKA_BOOTSTRAP_SERVERS={running.bootstrap_servers}")
        say("broker is ready; Ctrl-C stops it")
        ended.wait()
