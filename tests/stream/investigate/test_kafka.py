"""Requests that Kafka has, or has no more."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from latentwatch.detector import Baseline
from latentwatch.producers.wire import encode
from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.investigate import InvestigationError, WindowAlert, judge_again, rows_around
from latentwatch.stream.investigate.kafka import KafkaMessages, alert_in_kafka
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings
from tests.stream.investigate.conftest import Incident


@pytest.fixture
def sent(incident: Incident, settings: Settings) -> Settings:
    """Settings of topics that hold the incident's messages, and its alerts."""

    async def produce() -> None:
        topics = settings.topics()
        async with AIOKafkaProducer(**settings.kafka_options()) as producer:
            for partition, _, batch in incident.messages:
                key, value, headers = encode(batch)
                await producer.send_and_wait(
                    topics.activations, value, key, partition, headers=headers
                )
            for line in incident.alerts.read_bytes().splitlines():
                await producer.send_and_wait(topics.alerts, line, incident_id(line), 1)

    asyncio.run(create_topics(settings))
    asyncio.run(produce())
    return settings


def incident_id(event: bytes) -> bytes:
    """Key of an alert: its id."""
    return event.split(b'"data":{"id":"')[1].split(b'"')[0]


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    """Do what retention does."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(**settings.kafka_options())
        await admin.start()
        place = TopicPartition(settings.topics().activations, partition)
        await admin.delete_records({place: RecordsToDelete(offset)})
        await admin.close()

    asyncio.run(delete())


@pytest.mark.broker
def test_the_window_is_read_back_until_retention_deletes_it(
    sent: Settings, alert: WindowAlert, signs_baseline: Baseline
) -> None:
    assert alert_in_kafka(alert.id, sent) == alert
    source = KafkaMessages(sent, alert.model, alert.version, alert.partition)
    judged = judge_again(rows_around(source, alert, signs_baseline), alert, signs_baseline)
    assert judged.difference == 0.0
    delete_before(sent, alert.partition, alert.first_offset)
    judged = judge_again(rows_around(source, alert, signs_baseline), alert, signs_baseline)
    assert judged.difference == 0.0
    delete_before(sent, alert.partition, alert.first_offset + 1)
    with pytest.raises(InvestigationError, match=r"only offsets 24 to .*retention.*--recording"):
        rows_around(source, alert, signs_baseline)
    elsewhere = replace(alert, partition=999)
    with pytest.raises(InvestigationError, match="partition 999 has nothing"):
        rows_around(KafkaMessages(sent, "signs", "7", 999), elsewhere, signs_baseline)


@pytest.mark.broker
def test_a_topic_that_is_not_there_is_named(settings: Settings) -> None:
    with pytest.raises(InvestigationError, match=r"no topic '.*alerts': check topic_prefix"):
        alert_in_kafka("a", settings)


def test_a_broker_that_does_not_answer_is_named() -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:9 does not answer"):
        alert_in_kafka("a", Settings(bootstrap_servers="127.0.0.1:9"))
