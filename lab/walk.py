"""The walk of one batch: the files it passes from ``publish()`` to the record of an alert.

Run ``python -m latentwatch.lab.walk``. The batch goes through the publisher's intake, buffer and
encoder, and through the worker's processor, all in this process; Kafka itself is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np

from latentwatch.detector import Baseline
from latentwatch.producers.publisher import ActivationPublisher
from latentwatch.producers.wire import Limits
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.processor import Incoming, Processor
from latentwatch.stream.core.topic_names import Topics

__all__ = ["main", "walk"]

ROOT = Path(__file__).resolve().parents[1]
ROWS = 64
TOPICS = Topics(
    *("activations", "alerts", "flagged-requests", "detection-rates"),
    *("hour-sketches", "lane-state", "dead-letter"),
)


def walk() -> list[str]:
    """Publish one attacked batch and decide on it; return the files entered, in order.

    Raises
    ------
    RuntimeError
        The batch raised no alert.
    """
    rng = np.random.default_rng(5)
    baseline = _baseline(rng)
    publisher = ActivationPublisher("localhost:9092", "m", "1", max_rows=ROWS)
    processor = Processor(
        TOPICS,
        lambda _model, _version: baseline,
        Policy(average_run_length=100_000),
        limits=Limits(),
        newest_ns=lambda: Limits().latest_ns,
    )
    layers = {"early": rng.standard_normal((ROWS, 4)), "deep": 4 * rng.standard_normal((ROWS, 6))}
    predicted = rng.integers(0, 2, ROWS)
    records: list[Any] = []

    def batch() -> None:
        publisher.publish(layers, predicted)
        # what the sender's task does, without a broker to wait for
        rows = publisher._buffer.take(ROWS, publisher._settings.max_values)
        assert rows is not None
        key, value, headers = publisher._sender._message(rows)
        records.extend(processor.take([Incoming(0, 0, key, value, headers)]))

    files = traced(batch)
    if not any(record.topic == TOPICS.alerts for record in records):
        raise RuntimeError("the batch raised no alert: attack it harder")
    return files


def traced(work: Callable[[], None]) -> list[str]:
    """Files of the project whose functions a call enters, in order; imports do not count."""
    seen: dict[str, None] = {}

    def enter(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            seen.setdefault(frame.f_code.co_filename)

    sys.setprofile(enter)
    try:
        work()
    finally:
        sys.setprofile(None)
    paths = dict.fromkeys(Path(name).resolve() for name in seen if not name.startswith("<"))
    return [
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_relative_to(ROOT)
        and ".venv" not in path.parts
        and path != Path(__file__).resolve()
    ]


def _baseline(rng: np.random.Generator) -> Baseline:
    layers = {"early": rng.standard_normal((600, 4)), "deep": rng.standard_normal((600, 6))}
    return Baseline.fit(
        layers,
        rng.integers(0, 2, 600),
        model="m",
        version="1",
        longest_window=64,
        random_features=32,
        simulated_requests=20_000,
    )


def main() -> None:
    """Print the files and their count."""
    files = walk()
    for number, file in enumerate(files, 1):
        click.echo(f"{number:3} {file}")
    click.echo(f"{len(files)} files from publish() to the record of an alert")


if __name__ == "__main__":
    main()
