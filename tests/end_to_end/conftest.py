"""Baselines, isolated services, and a recording that one undisturbed worker processed."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch, Message, decode, encode
from latentwatch.stream.core.topic_names import Topics
from latentwatch.stream.kafka.topics import create_topics, topic_specs
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings
from tests.end_to_end.service import Outputs, Service
from tests.end_to_end.traffic import CLASSES, HOUR_NS, ROWS, START_HOUR, Sent, Traffic


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """Traffic that matches the baselines."""
    return Traffic()


@pytest.fixture(scope="session")
def baselines(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder with the baselines of signs/1 and lights/2."""
    folder = str(tmp_path_factory.mktemp("baselines"))
    for seed, (model, version) in enumerate([("signs", "1"), ("lights", "2")]):
        Baseline.fit(
            *traffic.draw(1200, np.random.default_rng([7, seed])),
            model=model,
            version=version,
            seed=seed,
            longest_window=128,
            random_features=128,
            simulated_requests=60_000,
        ).save(baseline_url(folder, model, version))
    return folder


@pytest.fixture(scope="session")
def make_service(baselines: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Context manager for a service with its own topics on a broker."""

    @contextmanager
    def make(bootstrap: str, prefix: str, **changes: Any) -> Iterator[Service]:
        settings = Settings(
            **{
                "bootstrap_servers": bootstrap,
                "topic_prefix": prefix,
                "application_id": prefix.rstrip("."),
                "baselines": baselines,
                "idle_seconds": 2,
                "flush_seconds": 0.2,
                "partitions": 3,
                "output_partitions": 2,
                **changes,
            }
        )
        assert set(asyncio.run(create_topics(settings))) == {s.name for s in topic_specs(settings)}
        service = Service(settings, tmp_path_factory.mktemp("logs"))
        try:
            yield service
        finally:
            service.end()

    return make


@dataclass
class Recording:
    """Messages in order, with the expected results."""

    messages: list[Sent] = field(default_factory=list)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    attacked: set[str] = field(default_factory=set)
    refused: list[tuple[Sent, str]] = field(default_factory=list)

    def add(self, partition: int, message: Message, lane: tuple[str, int], attacked: int) -> None:
        """Add a valid message of a model and an hour."""
        self.messages.append(Sent(partition, *message))
        self.requests[lane] += ROWS
        ids = decode(message.value, message.headers).request_ids
        self.attacked.update(ids[:attacked])


def refused_messages(traffic: Traffic) -> list[tuple[Sent, str]]:
    """One invalid message of each kind, with the expected reason; on partition 1."""
    good = traffic.message("signs", "1", 1, 0, 1)
    activations, predicted = traffic.draw(4, np.random.default_rng(3))

    def made(reason: str, **changes: Any) -> tuple[Sent, str]:
        batch = {
            "activations": activations,
            "predicted": predicted,
            "event_time_ns": np.full(4, (START_HOUR + 1) * HOUR_NS),
            "request_ids": ["a", "b", "c", "d"],
            "source": "/services/test",
            **changes,
        }
        return Sent(1, *encode(ActivationBatch(model="signs", version="1", **batch))), reason

    return [
        (Sent(1, None, b"garbage", []), "not-cloudevent"),
        (Sent(1, b"\xff\x00", bytes(range(256)), [("x", b"\xff"), ("x", b"2")]), "bad-header"),
        (Sent(1, good.key, None, good.headers), "bad-length"),
        (Sent(1, good.key, good.value[:-7], good.headers), "bad-length"),
        (Sent(1, b"lights/2", good.value, good.headers), "bad-key"),
        made("bad-dimension", activations=activations | {"deep": activations["deep"][:, 1:]}),
        made("bad-dimension", activations={"early": activations["early"]}),
        made("bad-class", predicted=predicted + CLASSES),
        made("bad-time", event_time_ns=np.full(4, 4_000_000_000 * 10**9)),
    ]


@pytest.fixture(scope="session")
def recording(traffic: Traffic) -> Recording:
    """Three hours of three models on three partitions; hour 1 of signs is attacked from its middle.

    The model ghost has no baseline; malformed messages are in the middle of partition 1.
    """
    lanes = [("signs", "1", 0), ("signs", "1", 1), ("lights", "2", 1), ("ghost", "1", 2)]
    refused = refused_messages(traffic)
    found = Recording()
    for hour, part in itertools.product(range(3), range(16)):
        for model, version, partition in lanes:
            attacked = 12 if model == "signs" and hour == 1 and part >= 8 else 0
            message = traffic.message(
                model, version, hour, 2 * part + partition % 2, 32, attacked=attacked
            )
            found.add(partition, message, (model, hour), attacked)
        if hour == 1 and refused:
            found.refused.append(refused.pop(0))
            found.messages.append(found.refused[-1][0])
    return found


@dataclass(frozen=True)
class Run:
    """A recording, the outputs it led to, and the offsets of its messages."""

    recording: Recording
    outputs: Outputs
    settings: Settings

    @property
    def topics(self) -> Topics:
        """Names of its topics."""
        return self.settings.topics()


@pytest.fixture(scope="session")
def undisturbed(kafka_bootstrap: str, make_service: Any, recording: Recording) -> Run:
    """The recording, processed by one worker without faults."""
    with make_service(kafka_bootstrap, f"undisturbed{uuid4().hex[:8]}.") as service:
        worker = service.start_worker()
        service.send(recording.messages)
        service.wait_for_requests(recording.requests)
        worker.stop()
        return Run(recording, service.read(), service.settings)
