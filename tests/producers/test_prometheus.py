"""The Prometheus metrics of publishers; the publishers are real, and have no broker."""

import asyncio
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from latentwatch import __version__
from latentwatch.producers import ActivationPublisher, BackgroundPublisher
from latentwatch.producers.prometheus import PublisherCollector
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings

NOWHERE = "127.0.0.1:1"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    return {
        (sample.name.removeprefix("latentwatch_publisher_"), frozenset(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(collector: PublisherCollector) -> Series:
    registry = CollectorRegistry()
    registry.register(collector)
    return parse(generate_latest(registry).decode())


def rows(series: Series, outcome: str, model: str = "signs", version: str = "1") -> float:
    labels = {"model": model, "version": version, "outcome": outcome}
    return series["rows_total", frozenset(labels.items())]


def queued(series: Series, model: str = "signs") -> float:
    return series["queued_rows", frozenset({"model": model, "version": "1"}.items())]


def publisher_of(model: str = "signs", **options: float) -> BackgroundPublisher:
    return BackgroundPublisher(NOWHERE, model, "1", max_rows=8, max_buffered_rows=16, **options)


def publish(publisher: BackgroundPublisher | ActivationPublisher, count: int) -> bool:
    activations = {"deep": np.ones((count, 4), dtype=np.float32)}
    return publisher.publish(activations, np.zeros(count, dtype=np.int64))


def watching(*publishers: BackgroundPublisher | ActivationPublisher) -> PublisherCollector:
    collector = PublisherCollector()
    for publisher in publishers:
        collector.add(publisher, model="signs", version="1")
    return collector


def test_waiting_rows_are_queued_and_those_beyond_the_buffer_dropped() -> None:
    publisher = publisher_of()
    collector = watching(publisher)
    assert publish(publisher, 10)
    assert not publish(publisher, 10)
    series = read(collector)
    assert (queued(series), rows(series, "dropped"), rows(series, "sent")) == (10, 10, 0)


def test_rows_left_in_the_buffer_at_the_end_are_dropped() -> None:
    publisher = publisher_of()
    collector = watching(publisher)
    publish(publisher, 10)
    publisher.close()
    series = read(collector)
    assert (queued(series), rows(series, "dropped")) == (0, 10)


def test_wrong_arguments_and_sampled_out_rows_are_counted_separately() -> None:
    publisher = publisher_of(sampling_rate=0.0)
    collector = watching(publisher)
    publish(publisher, 6)
    publisher.publish({"deep": [["no number"]]}, [0])
    series = read(collector)
    assert (rows(series, "sampled_out"), rows(series, "failed")) == (6, 1)


@pytest.mark.broker
def test_rows_and_messages_that_the_broker_has_are_sent(settings: Settings) -> None:
    asyncio.run(create_topics(settings))
    servers, topic = settings.bootstrap_servers, settings.topics().activations
    with BackgroundPublisher(servers, "signs", "1", topic=topic, max_rows=8) as publisher:
        collector = watching(publisher)
        publish(publisher, 10)
        assert publisher.flush(30.0)
        series = read(collector)
    assert (queued(series), rows(series, "sent")) == (0, 10)
    labels = {"model": "signs", "version": "1", "outcome": "sent"}
    assert series["messages_total", frozenset(labels.items())] == 2


def test_a_publisher_that_replaces_another_continues_its_counters() -> None:
    first = publisher_of(sampling_rate=0.0)
    publish(first, 6)
    second = ActivationPublisher(NOWHERE, "signs", "1", sampling_rate=0.0)
    publish(second, 4)
    assert rows(read(watching(first, second)), "sampled_out") == 10


def test_publishers_of_other_models_have_series_of_their_own() -> None:
    first, second = publisher_of(), publisher_of("lights")
    collector = watching(first)
    collector.add(second, model="lights", version="1")
    publish(second, 3)
    series = read(collector)
    assert (queued(series), queued(series, "lights")) == (0, 3)


def test_the_number_of_series_does_not_depend_on_what_is_published() -> None:
    publisher = publisher_of()
    collector = watching(publisher)
    before = set(read(collector))
    publish(publisher, 10)
    publish(publisher, 10)
    publisher.publish({f"layer{n}": [[0.0]] for n in range(50)}, [0])
    assert set(read(collector)) == before
    assert len([name for name, _ in before if name != "build_info"]) == 7


def test_the_build_info_has_the_version() -> None:
    (build,) = [labels for name, labels in read(watching()) if name == "build_info"]
    assert ("software", __version__) in build


def test_a_service_that_is_watched_loads_neither_torch_nor_the_worker() -> None:
    program = (
        "import sys\n"
        "import latentwatch.producers.prometheus\n"
        "unwanted = ('faust', 'torch', 'latentwatch.stream')\n"
        "print([name for name in unwanted if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


SERVICE = """
import sys, urllib.request
import numpy as np
from latentwatch.producers import BackgroundPublisher
publisher = BackgroundPublisher("127.0.0.1:1", "resnet", "7")
publisher.publish({"deep": np.ones((5, 4), dtype=np.float32)}, np.zeros(5, dtype=np.int64))
exec(sys.argv[1])
with urllib.request.urlopen("http://127.0.0.1:" + sys.argv[2] + "/metrics", timeout=10) as answer:
    print(answer.read().decode())
"""


def test_the_lines_of_the_docs_serve_the_metrics() -> None:
    pattern = r"```python\n([^`]*PublisherCollector[^`]*)```"
    (lines,) = re.findall(pattern, OPERATIONS.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ended = subprocess.run(
        [sys.executable, "-c", SERVICE, lines.replace("9465", port), port],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    labels = frozenset({("model", "resnet"), ("version", "7")})
    assert parse(ended.stdout)["queued_rows", labels] == 5
