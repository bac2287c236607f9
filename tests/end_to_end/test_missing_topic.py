"""An output topic that somebody deletes: the worker says so, and its successor goes on exactly."""

import asyncio
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings

pytestmark = pytest.mark.broker


async def delete(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def test_requests_are_counted_once_although_an_output_topic_was_deleted(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    with make_service(kafka_bootstrap, topic_prefix, idle_seconds=5) as service:
        first = service.start_worker()

        def messages(parts: range) -> list[tuple[Any, ...]]:
            return [
                (p, *traffic.message("signs", "1", 0, part * 2 + p, 20))
                for part in parts
                for p in range(2)
            ]

        service.send(messages(range(5)))
        service.wait_until("all taken in", lambda: {service.taken(p) for p in range(2)} == {4})
        asyncio.run(delete(service.settings, service.topics.detection_rates))
        service.send(messages(range(5, 10)))
        assert first.process.wait(120) == 1
        assert f"topic {service.topics.detection_rates!r} does not exist" in first.log

        asyncio.run(create_topics(service.settings))
        second = service.start_worker()
        service.wait_for_requests({("signs", 0): 20 * 48})
        second.stop()
