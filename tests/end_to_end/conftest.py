"""A recording of traffic, workers as child processes, and what they publish."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from numpy.typing import NDArray

from detector import Baseline
from producers.wire import ActivationBatch, Message, decode, encode
from stream.baselines import baseline_url
from stream.lane import Lane
from stream.lane_state import read_lane_states
from stream.settings import Settings
from stream.topic_names import Topics
from stream.topics import create_topics, topic_specs

HOUR_NS = 3_600 * 10**9
START_HOUR = 1_714_521_600 // 3_600  # 2024-05-01T00:00:00Z
LAYERS = {"early": 8, "deep": 16}
CLASSES = 3
ROWS = 48
PATIENCE_SECONDS = 90.0

Arrays = tuple[dict[str, NDArray[np.float32]], NDArray[np.int32]]


class Sent(NamedTuple):
    """A message and the partition that it goes to."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Traffic:
    """Gaussian classes in two layers; adversarial requests are off the manifold in the deep one."""

    layers: dict[str, int] = field(default_factory=lambda: dict(LAYERS))

    def draw(self, rows: int, rng: np.random.Generator, attacked: int = 0) -> Arrays:
        """Requests, of which the first `attacked` are adversarial."""
        world = np.random.default_rng(5)
        predicted = rng.integers(0, CLASSES, rows)
        activations = {}
        for name, width in self.layers.items():
            means = 2.0 * world.standard_normal((CLASSES, width))
            values = means[predicted] + rng.standard_normal((rows, width))
            activations[name] = values.astype(np.float32)
        activations["deep"][:attacked] += 2.5 * rng.standard_normal((attacked, self.layers["deep"]))
        return activations, predicted.astype(np.int32)

    def message(
        self, model: str, version: str, hour: int, part: int, parts: int, *, attacked: int = 0
    ) -> Message:
        """Message `part` of `parts` that fill an hour evenly; the same arguments, the same bytes.

        Its rows are no whole blocks, so that blocks reach over messages and hours.
        """
        rows, name = ROWS, f"{model}-{hour}-{part}"
        rng = np.random.default_rng([hour, part, *name.encode()])
        activations, predicted = self.draw(rows, rng, attacked)
        times = np.arange(part * rows, (part + 1) * rows) * (HOUR_NS // (parts * rows))
        return encode(
            ActivationBatch(
                model=model,
                version=version,
                activations=activations,
                predicted=predicted,
                event_time_ns=(START_HOUR + hour) * HOUR_NS + times,
                request_ids=[f"{name}-{row}" for row in range(rows)],
                input_refs=[f"s3://inputs/{name}/{row}" for row in range(rows)],
                source="/services/test",
                event_id=name,
                time="2024-05-01T00:00:00Z",
            )
        )


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """Traffic that the baselines know."""
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


@dataclass
class Outputs:
    """All that was published, in the order of each partition."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    detection_rates: list[dict[str, Any]] = field(default_factory=list)
    flagged_requests: list[dict[str, Any]] = field(default_factory=list)
    dead_letter: list[Any] = field(default_factory=list)

    def add(self, role: str, record: Any) -> None:
        """Take a record in; dead letters as they are, the others parsed."""
        getattr(self, role).append(record if role == "dead_letter" else orjson.loads(record.value))

    @property
    def rates(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Newest rates by model, layer and hour, as compaction would leave them."""
        rows = (event["data"] for event in self.detection_rates)
        return {(row["model"], row["layer"], row["hour"]): row for row in rows}

    @property
    def requests(self) -> dict[tuple[str, int], int]:
        """Requests by model and hour since the start of the recording, in every layer's row.

        The rows of an hour lie in several partitions: a reader may see some before the others.
        """
        rates = self.rates
        found = {}
        for (model, _, hour), row in rates.items():
            number = int(datetime.fromisoformat(hour).timestamp()) // 3600 - START_HOUR
            layers = [*LAYERS, "agreement"] if row["status"] == "ok" else [""]
            told = [rates.get((model, layer, hour), {"requests": 0}) for layer in layers]
            found[model, number] = min(row["requests"] for row in told)
        return found


class WorkerProcess:
    """A worker as in production: a process of its own, settings from its environment."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream.cli", "worker"],
                env={**os.environ, **settings.environment()},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")

    @property
    def takeovers(self) -> int:
        """Partitions that it took over so far, each time anew."""
        return self.log.count("partition taken over")

    def check(self) -> None:
        """Fail if it ended by itself."""
        if self.process.poll() is not None:
            pytest.fail(f"worker ended with {self.process.returncode}:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Ask it to end, and see that it ends well."""
        self.check()
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            pytest.fail(f"worker did not end within 30 s of SIGTERM:\n{self.log[-4000:]}")
        assert code == 0, self.log[-4000:]


class Service:
    """The service under test: its topics, its workers, and what comes out."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.topics = settings, settings.topics()
        self._folder = folder
        self.workers: list[WorkerProcess] = []
        self.outputs = Outputs()

    def start_worker(self) -> WorkerProcess:
        """Start one worker more."""
        log = self._folder / f"worker-{len(self.workers)}.log"
        self.workers.append(WorkerProcess(self.settings, log))
        return self.workers[-1]

    def send(self, messages: Sequence[tuple[Any, ...]]) -> None:
        """Send messages, as `Sent` has them; each partition keeps their order."""

        async def produce() -> None:
            producer = AIOKafkaProducer(**self.settings.kafka_options(), enable_idempotence=True)
            async with producer:
                sent = [
                    await producer.send(
                        self.topics.activations, value, key, partition, headers=headers
                    )
                    for partition, key, value, headers in messages
                ]
                await asyncio.gather(*sent)

        asyncio.run(produce())

    def taken(self, partition: int) -> int:
        """Newest offset of a partition that a lane's state has taken in; -1 without any."""
        states = asyncio.run(
            read_lane_states(self.settings.kafka_options(), self.topics.lane_state, partition)
        )
        return max((Lane.offset_of(state) for state in states), default=-1)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the workers must not end by themselves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            for worker in self.workers:
                if worker.process.returncode is None:
                    worker.check()
            if time.monotonic() > deadline:
                logs = "\n".join(worker.log[-2000:] for worker in self.workers)
                pytest.fail(
                    f"{what}: not within {PATIENCE_SECONDS:.0f} s\n{self.outputs.requests}\n{logs}"
                )
            time.sleep(0.1)

    def wait_for_requests(self, expected: dict[tuple[str, int], int]) -> None:
        """Wait until the rates count as many requests as were sent."""

        def counted() -> bool:
            self.outputs = self.read()
            return self.outputs.requests == expected

        self.wait_until(f"rates of {expected}", counted)

    def read(self) -> Outputs:
        """All that is in the output topics at present."""
        return asyncio.run(self._read())

    async def _read(self) -> Outputs:
        roles = {getattr(self.topics, role): role for role in Outputs.__dataclass_fields__}
        outputs = Outputs()
        places = [
            TopicPartition(topic, partition)
            for topic in roles
            for partition in range(self.settings.output_partitions)
        ]
        async with AIOKafkaConsumer(**self.settings.kafka_options()) as consumer:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            left = {p: end for p, end in (await consumer.end_offsets(places)).items() if end}
            while left:
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        outputs.add(roles[place.topic], record)
                left = {p: end for p, end in left.items() if await consumer.position(p) < end}
        return outputs

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for worker in self.workers:
            worker.kill()


@pytest.fixture(scope="session")
def make_service(baselines: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Context manager of a service with topics of its own, on a broker."""

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
    """Messages in their order, and what is known about them."""

    messages: list[Sent] = field(default_factory=list)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    attacked: set[str] = field(default_factory=set)
    refused: list[tuple[Sent, str]] = field(default_factory=list)

    def add(self, partition: int, message: Message, lane: tuple[str, int], attacked: int) -> None:
        """Add a sound message of a model and an hour."""
        self.messages.append(Sent(partition, *message))
        self.requests[lane] += ROWS
        ids = decode(message.value, message.headers).request_ids
        self.attacked.update(ids[:attacked])


def refused_messages(traffic: Traffic) -> list[tuple[Sent, str]]:
    """One message of each kind that goes wrong, with the reason to expect; on partition 1."""
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

    The model ghost has no baseline; malformed messages stand in the midst of partition 1.
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
    """A recording, what came out of it, and the offsets that its messages got."""

    recording: Recording
    outputs: Outputs
    topics: Topics


@pytest.fixture(scope="session")
def undisturbed(kafka_bootstrap: str, make_service: Any, recording: Recording) -> Run:
    """The recording, taken in by one worker that nothing happens to."""
    with make_service(kafka_bootstrap, f"undisturbed{uuid4().hex[:8]}.") as service:
        worker = service.start_worker()
        service.send(recording.messages)
        service.wait_for_requests(recording.requests)
        worker.stop()
        return Run(recording, service.read(), service.topics)
