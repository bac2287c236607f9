"""Malformed messages in a stream become dead letters with a reason and affect nothing else."""

import asyncio
import hashlib
import random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from latentwatch.stream.settings import Settings

pytestmark = pytest.mark.broker


def headers_of(record: Any) -> dict[str, str]:
    return {
        name: value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith("latentwatch-")
    }


def offsets_on(partition: int, messages: list[Any]) -> list[Any]:
    return [message for message in messages if message.partition == partition]


def test_each_malformed_message_is_published_once_with_its_reason(undisturbed: Any) -> None:
    reasons = sorted(headers_of(r)["latentwatch-reason"] for r in undisturbed.outputs.dead_letter)
    assert reasons == sorted(reason for _, reason in undisturbed.recording.refused)
    assert all(headers_of(r)["latentwatch-detail"] for r in undisturbed.outputs.dead_letter)


def test_a_dead_letter_says_where_the_message_was(undisturbed: Any) -> None:
    stream = offsets_on(1, undisturbed.recording.messages)
    topic = undisturbed.topics.activations
    by_offset = {headers_of(r)["latentwatch-offset"]: r for r in undisturbed.outputs.dead_letter}
    for message, reason in undisturbed.recording.refused:
        offset = str(stream.index(message))
        headers = headers_of(by_offset[offset])
        assert headers["latentwatch-reason"] == reason
        assert (headers["latentwatch-topic"], headers["latentwatch-partition"]) == (topic, "1")
        assert by_offset[offset].key == f"{topic}/1/{offset}".encode()


def test_a_dead_letter_keeps_value_key_and_headers_unchanged(undisturbed: Any) -> None:
    stream = offsets_on(1, undisturbed.recording.messages)
    for record in undisturbed.outputs.dead_letter:
        message = stream[int(headers_of(record)["latentwatch-offset"])]
        assert record.value == message.value
        kept = [pair for pair in record.headers if not pair[0].startswith("latentwatch-")]
        assert kept == list(message.headers)
        assert dict(record.headers).get("latentwatch-key") == message.key


def test_the_lanes_of_the_same_partition_lose_no_request(undisturbed: Any) -> None:
    assert len(undisturbed.recording.refused) >= 9
    assert undisturbed.outputs.requests == undisturbed.recording.requests


async def send_poison_to_a_topic_that_cannot_take_it(settings: Settings, value: bytes) -> None:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    await admin.start()
    try:
        limit = {"max.message.bytes": "1048588"}
        topic = settings.topics().dead_letter
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=limit)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(**settings.kafka_options(), max_request_size=4 << 20) as producer:
        await producer.send_and_wait(settings.topics().activations, value, partition=0)


def test_a_dead_letter_larger_than_its_topic_is_cut_and_nothing_else_is_lost(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    poison = random.Random(0).randbytes(2 << 20)
    with make_service(kafka_bootstrap, topic_prefix, idle_seconds=5) as service:

        def send(parts: range) -> None:
            service.send([(p, *traffic.message("signs", "1", 0, part * 2 + p, 20))
                          for part in parts for p in range(2)])  # fmt: skip

        send(range(3))
        asyncio.run(send_poison_to_a_topic_that_cannot_take_it(service.settings, poison))
        send(range(3, 6))
        worker = service.start_worker()
        service.wait_for_requests({("signs", 0): 12 * 48})
        service.wait_until("the dead letter", lambda: len(service.read().dead_letter) == 1)
        (letter,) = service.read().dead_letter
        worker.stop()
    headers = headers_of(letter)
    assert letter.value == poison[:1024]
    assert headers["latentwatch-offset"] == "3"
    assert f"{len(poison)} bytes" in headers["latentwatch-cut"]
    assert hashlib.sha256(poison).hexdigest() in headers["latentwatch-cut"]
    assert "dead letter is larger than its topic allows" in worker.log
