"""The publisher outlives its broker."""

import asyncio
import time
import uuid

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from latentwatch.lab.brokers import KafkaBroker
from latentwatch.producers import BackgroundPublisher, decode

VALUES = {"layer4": np.ones((10, 4), np.float32)}


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def read_ids(bootstrap: str, topic: str, rows: int) -> list[str]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    ids: list[str] = []
    try:
        async with asyncio.timeout(30):
            while len(ids) < rows:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        ids += decode(message.value, message.headers).request_ids
    finally:
        await consumer.stop()
    return ids


@pytest.mark.broker
@pytest.mark.slow
def test_an_outage_drops_what_the_buffer_cannot_hold_and_nothing_else() -> None:
    topic = f"activations-{uuid.uuid4()}"
    with KafkaBroker() as broker:
        bootstrap = broker.bootstrap_servers
        asyncio.run(create_topic(bootstrap, topic))
        publisher = BackgroundPublisher(
            bootstrap, "signs", "3", topic=topic, max_rows=10, max_buffered_rows=500
        )
        with publisher:
            publisher.publish(VALUES, np.zeros(10, int))
            assert publisher.flush(timeout=20.0)
            broker.kill()
            taken = [publisher.publish(VALUES, np.zeros(10, int)) for _ in range(100)]
            time.sleep(2.0)
            assert taken.count(True) == 50
            assert (publisher.counters.sent, publisher.counters.dropped) == (10, 500)

            broker.restart()
            assert publisher.flush(timeout=30.0)
            assert publisher.publish(VALUES, np.zeros(10, int))
            assert publisher.flush(timeout=20.0)

        counters = publisher.counters
        assert (counters.sent, counters.dropped, counters.failed) == (520, 500, 0)
        ids = asyncio.run(read_ids(bootstrap, topic, 520))
        assert len(ids) == len(set(ids)) == 520


@pytest.mark.broker
@pytest.mark.slow
def test_closing_during_an_outage_keeps_its_time() -> None:
    topic = f"activations-{uuid.uuid4()}"
    with KafkaBroker() as broker:
        asyncio.run(create_topic(broker.bootstrap_servers, topic))
        publisher = BackgroundPublisher(
            broker.bootstrap_servers, "signs", "3", topic=topic, max_rows=10
        )
        publisher.start()
        publisher.publish(VALUES, np.zeros(10, int))
        assert publisher.flush(timeout=20.0)
        broker.kill()
        for _ in range(30):
            publisher.publish(VALUES, np.zeros(10, int))
        time.sleep(0.5)

        start = time.monotonic()
        publisher.close(timeout=2.0)

        assert time.monotonic() - start < 3.0
        counters = publisher.counters
        assert (counters.published, counters.sent, counters.queued) == (310, 10, 0)
        assert counters.dropped + counters.failed == 300
        assert counters.failed > 0  # in flight: the broker may or may not have them
