import asyncio
import itertools
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer
from rich.progress import Progress

from latentwatch.lab.signs import service
from latentwatch.lab.signs.attack import AttackSettings
from latentwatch.lab.signs.errors import PlaybackError
from latentwatch.lab.signs.network import SignNetwork, observe
from latentwatch.lab.signs.service import Played, play
from latentwatch.lab.signs.traffic import HOUR_NS, plan_hours
from latentwatch.lab.signs.workload import Requests, make_requests
from latentwatch.producers.publisher import BackgroundPublisher
from latentwatch.producers.wire import ActivationBatch, decode

START = 490_000 * HOUR_NS
NOBODY = "127.0.0.1:9"  # the discard port, where no broker listens


@pytest.fixture
def requests(network: SignNetwork, silent: Progress) -> Requests:
    plan = plan_hours(3, 150, 0.2, seed=5)
    return make_requests(network, plan, AttackSettings(steps=3), seed=5, progress=silent)[0]


async def read(bootstrap: str, topic: str, rows: int) -> list[ActivationBatch]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[ActivationBatch] = []
    try:
        async with asyncio.timeout(30):
            while sum(map(len, found)) < rows:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    found += [decode(m.value, m.headers, key=m.key) for m in messages]
    finally:
        await consumer.stop()
    return found


@pytest.mark.broker
def test_every_request_arrives_in_order_and_the_truth_is_written(
    kafka_bootstrap: str, topic: str, tmp_path: Path, network: SignNetwork, requests: Requests
) -> None:
    truth = tmp_path / "new" / "truth.jsonl"
    progress = Progress(disable=True)
    with BackgroundPublisher(kafka_bootstrap, "traffic-signs", "1", topic=topic) as publisher:
        played = play(network, requests, publisher, start_ns=START, truth=truth, progress=progress)
    batches = asyncio.run(read(kafka_bootstrap, topic, len(requests)))
    lines = [orjson.loads(line) for line in truth.read_bytes().splitlines()]

    ids = list(itertools.chain.from_iterable(batch.request_ids for batch in batches))
    assert ids == list(requests.ids) == [line["request_id"] for line in lines]
    times = np.concatenate([batch.event_time_ns for batch in batches])
    assert np.array_equal(times, START + requests.plan.offset_ns)
    predicted = np.concatenate([batch.predicted for batch in batches])
    assert predicted.tolist() == [line["predicted"] for line in lines]
    seen = observe(network, requests.images)
    deep = np.concatenate([batch.activations["layer4"] for batch in batches])
    np.testing.assert_allclose(deep, seen.activations["layer4"], atol=0.01)
    refs = itertools.chain.from_iterable(batch.input_refs or () for batch in batches)
    assert tuple(refs) == requests.input_refs == tuple(line["input_ref"] for line in lines)

    assert [line["index"] for line in lines] == list(range(450))
    assert [line["adversarial"] for line in lines] == requests.plan.adversarial.tolist()
    assert [line["label"] for line in lines] == requests.labels.tolist()
    assert [line["event_time_ns"] // HOUR_NS - 490_000 for line in lines] == [
        line["hour"] for line in lines
    ]
    right = [line["predicted"] == line["label"] for line in lines]
    fooled = sum(line["adversarial"] and not ok for line, ok in zip(lines, right, strict=True))
    correct = sum(ok and not line["adversarial"] for line, ok in zip(lines, right, strict=True))
    assert played == Played(requests=450, correct=correct, fooled=fooled)
    assert [(task.completed, task.total) for task in progress.tasks] == [(150, 150)] * 3


@pytest.mark.broker
def test_the_player_waits_for_the_broker_and_drops_nothing(
    kafka_bootstrap: str,
    topic: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: SignNetwork,
    requests: Requests,
    silent: Progress,
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 64)
    with BackgroundPublisher(
        kafka_bootstrap,
        "traffic-signs",
        "1",
        topic=topic,
        max_buffered_rows=128,  # room for a waiting batch and the next one
    ) as publisher:
        play(network, requests, publisher, start_ns=START, truth=tmp_path / "t", progress=silent)
        assert publisher.counters.sent == 450
        assert publisher.counters.dropped == 0


def test_a_broker_that_is_away_is_an_error_and_not_a_loss(
    tmp_path: Path, network: SignNetwork, requests: Requests, silent: Progress
) -> None:
    with (
        BackgroundPublisher(NOBODY, "traffic-signs", "1") as publisher,
        pytest.raises(PlaybackError, match="of 450 requests 0 were sent"),
    ):
        play(
            network,
            requests,
            publisher,
            start_ns=START,
            truth=tmp_path / "truth.jsonl",
            progress=silent,
            patience=0.2,
        )


def test_the_player_gives_up_when_the_broker_takes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: SignNetwork,
    requests: Requests,
    silent: Progress,
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 64)
    with (
        BackgroundPublisher(NOBODY, "traffic-signs", "1") as publisher,
        pytest.raises(PlaybackError, match="broker has accepted nothing"),
    ):
        play(
            network,
            requests,
            publisher,
            start_ns=START,
            truth=tmp_path / "truth.jsonl",
            progress=silent,
            patience=0.2,
        )
