"""The publishers with a broker: the rows arrive."""

import asyncio
import threading
import uuid
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from numpy.typing import NDArray

from latentwatch.producers import (
    ActivationBatch,
    ActivationPublisher,
    BackgroundPublisher,
    Counters,
    decode,
)


def activations(rows: int, width: int = 8) -> dict[str, NDArray[Any]]:
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width) / 256
    return {"layer1": values, "layer4": values.astype(np.float16)}


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def read(bootstrap: str, topic: str, rows: int) -> list[tuple[bytes, ActivationBatch]]:
    """All messages of the topic, once they hold at least so many rows."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[tuple[bytes, ActivationBatch]] = []
    try:
        async with asyncio.timeout(30):
            while sum(len(batch) for _, batch in found) < rows:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(m.key, decode(m.value, m.headers, key=m.key)) for m in messages]
    finally:
        await consumer.stop()
    return found


@pytest.fixture
def topic(kafka_bootstrap: str) -> str:
    name = f"activations-{uuid.uuid4()}"
    asyncio.run(create_topic(kafka_bootstrap, name))
    return name


def ids_of(found: list[tuple[bytes, ActivationBatch]]) -> list[str]:
    return [request_id for _, batch in found for request_id in batch.request_ids]


@pytest.mark.broker
def test_rows_arrive_as_they_were_published(kafka_bootstrap: str, topic: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traces = [trace, None, trace.replace("3331", "3332")]
    with BackgroundPublisher(
        kafka_bootstrap, "signs", "3", topic=topic, datatype="FP32", source="/svc", shard="a"
    ) as publisher:
        assert publisher.publish(
            activations(3),
            np.array([4, 5, 6]),
            request_ids=["r0", "r1", "ü"],
            event_time_ns=np.arange(3) + 10**18,
            input_refs=["s3://0", None, None],
            traceparent=traces,
        )

    [(key, batch)] = asyncio.run(read(kafka_bootstrap, topic, 3))
    assert key == b"signs/3/a"
    assert (batch.model, batch.version, batch.source, batch.shard) == ("signs", "3", "/svc", "a")
    assert batch.request_ids == ["r0", "r1", "ü"]
    assert (batch.traceparent, batch.row_traceparents) == (trace, traces)
    assert batch.input_refs == ["s3://0", None, None]
    assert batch.predicted.tolist() == [4, 5, 6]
    assert batch.event_time_ns.tolist() == [10**18, 10**18 + 1, 10**18 + 2]
    for name, array in activations(3).items():
        assert batch.activations[name].dtype == np.float32
        np.testing.assert_array_equal(batch.activations[name], array)
    assert publisher.counters == Counters(published=3, sent=3, messages_sent=1)


@pytest.mark.broker
def test_closing_flushes_many_small_calls_in_few_messages(kafka_bootstrap: str, topic: str) -> None:
    with BackgroundPublisher(
        kafka_bootstrap, "signs", "3", topic=topic, max_rows=64, linger_ms=10_000
    ) as publisher:
        for number in range(1000):
            publisher.publish(activations(1), [0], request_ids=[str(number)])

    found = asyncio.run(read(kafka_bootstrap, topic, 1000))
    assert ids_of(found) == [str(number) for number in range(1000)]
    assert max(len(batch) for _, batch in found) == 64
    assert publisher.counters.messages_sent == len(found) < 40
    assert publisher.counters.sent == publisher.counters.published == 1000


@pytest.mark.broker
def test_the_asyncio_form_delivers_and_flushes(kafka_bootstrap: str, topic: str) -> None:
    async def serve() -> Counters:
        async with ActivationPublisher(kafka_bootstrap, "signs", "3", topic=topic) as publisher:
            for number in range(10):
                publisher.publish(activations(20), np.zeros(20, int))
                if number == 4:
                    assert await publisher.flush(timeout=20.0)
                    assert publisher.counters.sent == 100
        return publisher.counters

    counters = asyncio.run(serve())

    assert (counters.published, counters.sent, counters.queued) == (200, 200, 0)
    assert len(ids_of(asyncio.run(read(kafka_bootstrap, topic, 200)))) == 200


@pytest.mark.broker
def test_a_lingering_message_goes_out_by_itself(kafka_bootstrap: str, topic: str) -> None:
    with BackgroundPublisher(kafka_bootstrap, "signs", "3", topic=topic, linger_ms=20) as publisher:
        publisher.publish(activations(1), [0])
        assert len(asyncio.run(read(kafka_bootstrap, topic, 1))) == 1
        publisher.publish(activations(1), [0])
        assert len(asyncio.run(read(kafka_bootstrap, topic, 2))) == 2


@pytest.mark.broker
def test_rows_published_before_the_topic_exists_arrive(kafka_bootstrap: str) -> None:
    topic = f"activations-{uuid.uuid4()}"
    with BackgroundPublisher(kafka_bootstrap, "signs", "3", topic=topic) as publisher:
        publisher.publish(activations(5), np.zeros(5, int))
        assert not publisher.flush(timeout=0.5)
        asyncio.run(create_topic(kafka_bootstrap, topic))
        assert publisher.flush(timeout=30.0)

    assert len(ids_of(asyncio.run(read(kafka_bootstrap, topic, 5)))) == 5


@pytest.mark.broker
def test_hostile_rows_do_not_affect_others(kafka_bootstrap: str, topic: str) -> None:
    values = np.zeros((6, 2), np.float32)
    values[0], values[1, 0] = np.nan, 1e30
    ids = ["not-finite", "huge", "same", "same", "same", "x" * 5000]
    with BackgroundPublisher(kafka_bootstrap, "signs", "3", topic=topic) as publisher:
        assert publisher.publish({"x": values}, np.zeros(6, int), request_ids=ids)
        assert publisher.publish({"x": values[2:3]}, [0], request_ids=["same"])

    found = asyncio.run(read(kafka_bootstrap, topic, 6))
    received = ids_of(found)
    assert (received.count("huge"), received.count("same"), "not-finite" in received) == (
        1,
        4,
        False,
    )
    assert sum(request_id.startswith("blake2b-") for request_id in received) == 1
    largest = max(float(batch.float32("x").max()) for _, batch in found)
    assert largest == 65504.0
    counters = publisher.counters
    assert (counters.published, counters.sent, counters.failed) == (7, 6, 1)


@pytest.mark.broker
def test_a_message_that_is_too_large_fails_alone(
    kafka_bootstrap: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    wide = {f"x{number}": np.ones((1, 65_536), np.float32) for number in range(10)}
    with BackgroundPublisher(
        kafka_bootstrap, "signs", "3", topic=topic, datatype="FP32"
    ) as publisher:
        publisher.publish(wide, [0], request_ids=["wide"])
        publisher.publish(activations(200, 1024), np.zeros(200, int))

    found = asyncio.run(read(kafka_bootstrap, topic, 200))
    assert len(ids_of(found)) == 200
    counters = publisher.counters
    assert (counters.sent, counters.failed, counters.messages_failed) == (200, 1, 1)
    assert "MessageSizeTooLarge" in caplog.text


@pytest.mark.broker
def test_many_threads_may_publish(kafka_bootstrap: str, topic: str) -> None:
    with BackgroundPublisher(kafka_bootstrap, "signs", "3", topic=topic) as publisher:

        def serve(name: str) -> None:
            for number in range(50):
                publisher.publish(
                    activations(2), [0, 1], request_ids=[f"{name}{number}a", f"{name}{number}b"]
                )

        threads = [threading.Thread(target=serve, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    received = ids_of(asyncio.run(read(kafka_bootstrap, topic, 400)))
    assert len(received) == len(set(received)) == 400
    assert publisher.counters.sent == publisher.counters.published == 400
